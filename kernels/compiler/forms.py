"""The form in which programs in bfloat16 hand tensors to convolutions on this machine: the one that a short trial finds
fastest.

A processor may list instructions for bfloat16 and run them at half the rate of float32, and the tiles (AMX) are used by
oneDNN for tensors in rows alone. So a small convolution is timed in each form.
"""

import contextlib
import functools
from typing import NamedTuple

from cellwright.kernels.compiler.tensors import ROWS, STORED, WIDE
from cellwright.kernels.csrc import program_abi as native

# A form has to be so much faster than the next simpler one. Measured: 2.0 for STORED and ROWS on AMD Zen 4; 0.55 and 8
# on an Intel processor with AMX.
_MARGIN = 1.25
_IMAGES = 4
_CONVOLUTION = dict.fromkeys(("stride_height", "stride_width", "dilation_height", "dilation_width"), 1) | {
    **dict.fromkeys(("channels", "filters"), 64),
    **dict.fromkeys(("height", "width", "out_height", "out_width"), 28),
    **dict.fromkeys(("kernel_height", "kernel_width"), 3),
    **{"top": 1, "left": 1, "groups": 1, "bias": 0, "plain_source": 0, "relu": 0},
}


class Trial(NamedTuple):
    """What a form came out at: its loops and the seconds of one convolution; None where there are no loops."""

    implementation: str | None
    seconds: float | None


@functools.lru_cache(maxsize=1)
def trials():
    """Returns {form: Trial} of this machine; measured once, in about 30 ms."""
    return {form: _try(form) for form in (WIDE, STORED, ROWS)}


def _try(form):
    numbers = _CONVOLUTION | {"bfloat16": int(form != WIDE), "rows": int(form == ROWS)}
    try:
        handle, _ = native.convolution(native.FORWARD, numbers, [_IMAGES])
    except RuntimeError:
        return Trial(None, None)
    try:
        name = native.library().cellwright_conv_implementation(handle).decode()
        return Trial(name, native.library().cellwright_conv_seconds(handle, _IMAGES) or None)
    finally:
        native.library().cellwright_conv_destroy(handle)


_forced = []


def fastest():
    """Returns the form for this machine's convolutions in bfloat16."""
    if _forced:
        return _forced[-1]
    best, found = WIDE, trials()
    for form in (STORED, ROWS):
        seconds = found[form].seconds
        if seconds is not None and seconds * _MARGIN < (found[best].seconds or 0.0):
            best = form
    return best


@contextlib.contextmanager
def forced(form):
    """Context manager: what is planned inside uses this form, for trying those of other machines."""
    _forced.append(form)
    try:
        yield
    finally:
        _forced.pop()


def advantage():
    """Returns by how much the form is faster than float32; 1.0 for float32 itself."""
    found = trials()
    return 1.0 if fastest() == WIDE else found[WIDE].seconds / found[fastest()].seconds


def gflops():
    """Returns the rate of the trial's convolution in bfloat16 on one thread; 0.0 where float32 is as fast."""
    c = _CONVOLUTION
    operations = 2 * c["channels"] * c["filters"] * c["kernel_height"] * c["kernel_width"] * c["height"] * c["width"]
    return 0.0 if fastest() == WIDE else _IMAGES * operations / trials()[fastest()].seconds / 1e9


def describe():
    """Returns what multiplies bfloat16 on this machine: "AMX", "AVX-512" or "storage only"."""
    form = fastest()
    if form == WIDE:
        return "storage only"
    return "AMX" if "amx" in (trials()[form].implementation or "") else "AVX-512"
