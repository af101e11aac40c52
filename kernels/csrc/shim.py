"""The C library of the project: found beside this file, opened once."""

import ctypes
import functools
import os
import sysconfig
from pathlib import Path

from cellwright.kernels.csrc.operations import header


class ShimMissing(RuntimeError):
    """Raised where a graph kernel is asked for and the C shim was not built, or was built from other sources."""


@functools.lru_cache(maxsize=1)
def shim():
    """Returns the path of the library and the library; raises ShimMissing where nodes cannot use it."""
    path = Path(__file__).with_name("_shim" + sysconfig.get_config_var("EXT_SUFFIX"))
    if not path.exists():
        raise ShimMissing(
            f"{path.name} was not built: install gcc, then reinstall cellwright; until then stock operators are used"
        )
    library = ctypes.CDLL(str(path))
    check_sources(library)
    library.cellwright_threads(default_threads())
    return path, library


def check_sources(library):
    """Raises ShimMissing if the library was built from another table of operations than this one."""
    found = None
    if hasattr(library, "cellwright_table"):
        library.cellwright_table.restype = ctypes.c_int64
        found = library.cellwright_table(0)
    if found != header()[1]:
        raise ShimMissing(
            "the C shim was built from other sources: build it again; until then stock operators are used"
        )


def default_threads():
    """The cores that this process may use, or OMP_NUM_THREADS where that is less."""
    cores = len(os.sched_getaffinity(0))
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(wanted)) if wanted.isdigit() and int(wanted) else cores


def set_threads(threads):
    """Sets the size of the team of threads, until the first node of a program runs; returns the size in force."""
    return shim()[1].cellwright_threads(threads)


def shim_available():
    """True if the C shim was built, so that numba kernels can run inside a graph."""
    try:
        shim()
    except ShimMissing:
        return False
    return True
