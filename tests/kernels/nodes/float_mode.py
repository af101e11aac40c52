"""The mode that the framework sets on some of its threads: numbers below the least normal one are taken for zero."""

import contextlib
import ctypes
import platform

import numpy as np

_FLUSH = 0x8040  # of MXCSR: flush to zero, denormals are zero


@contextlib.contextmanager
def small_numbers_are_zero():
    """Context manager: so on this thread, where the processor has such a mode."""
    if platform.machine() != "x86_64":
        yield
        return
    library, before = ctypes.CDLL("libm.so.6"), (ctypes.c_uint32 * 8)()
    library.fegetenv(before)
    library.fesetenv((ctypes.c_uint32 * 8)(*before[:7], before[7] | _FLUSH))
    try:
        assert np.float32(1e-39) * np.float32(0.5) == 0
        yield
    finally:
        library.fesetenv(before)
