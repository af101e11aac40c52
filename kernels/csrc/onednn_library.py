"""Which oneDNN programs use: MindSpore's own, or a copy of it that may use other instructions.

A process sets oneDNN's instruction limit once for each loaded library. For plain NCHW its AVX-512 build has
reference loops alone where its AVX2 build has compiled ones (ResNet-18, 96 pixels, batch 4: 7.3 s a step and 0.9
s), while programs are twice as fast with AVX-512. So programs have an instance of their own, and the framework's
can be limited where convolutions stay with it. What the user has set in ONEDNN_MAX_CPU_ISA holds for both.
"""

import ctypes
import logging
import os
import shutil
import tempfile
from pathlib import Path

import mindspore

_AVX2, _AVX512 = 0x7, 0x27  # dnnl_cpu_isa_avx2, dnnl_cpu_isa_avx512_core
_OURS = "CELLWRIGHT_STOCK_LIMIT"  # set where the limit in the environment is not the user's

logger = logging.getLogger("cellwright.kernels")


def framework_library():
    """Returns the path of MindSpore's oneDNN."""
    return Path(mindspore.__file__).parent / "lib" / "libdnnl.so.3"


def program_library():
    """Returns the path of the oneDNN that programs use, and True if it is a copy that may use all instructions.

    Where no copy can be kept, which a line says, it is the framework's.
    """
    source = framework_library()
    if _limited_by_user() or not source.exists():
        return source, False
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = source.stat()
    target = home / "cellwright" / f"onednn-{mindspore.__version__}-{found.st_size}-{found.st_mtime_ns}" / source.name
    try:
        if not target.exists():
            _copy(source, target)
    except OSError as error:
        why = error.strerror or error
        logger.warning("oneDNN could not be copied into %s (%s): programs share MindSpore's", target.parent, why)
        return source, False
    return target, True


def _copy(source, target):
    """Copies a file so that others see it whole or not at all; OSError, and nothing is left, where there is no room."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as written:
        pass
    try:
        shutil.copyfile(source, written.name)
        os.replace(written.name, target)
    except OSError:
        os.unlink(written.name)
        raise


def limit_stock(network):
    """Limits the framework's oneDNN (see limit_framework) if convolutions of this network run there."""
    if mindspore.get_context("device_target") == "CPU" and any(map(_has_filters, _stock_cells(network))):
        limit_framework()


def _stock_cells(network):
    """Yields the cells that programs do not run; `accelerate` notes the class that others had."""
    if not hasattr(type(network), "stock_class"):
        yield network
        for cell in network.cells():
            yield from _stock_cells(cell)


def _has_filters(cell):
    return any(len(parameter.shape) == 4 for parameter in cell._params.values())


def limit_framework():
    """Limits the framework's own convolutions to AVX2, if the user has set no limit; before the first of them runs.

    After that oneDNN takes no limit any more, and it is told how to set one.
    """
    if _limited_by_user() or not framework_library().exists():
        return
    # Both are needed: the library may have read the variable, or may be linked into another one that reads it later.
    os.environ["ONEDNN_MAX_CPU_ISA"], os.environ[_OURS] = "AVX2", "1"
    library = ctypes.CDLL(str(framework_library()))
    library.dnnl_set_max_cpu_isa(_AVX2)
    if library.dnnl_get_effective_cpu_isa() & _AVX512 == _AVX512:
        logger.warning(
            "stock convolutions ran before they could be limited to AVX2, and may be ten times slower than with it: "
            "start the process with ONEDNN_MAX_CPU_ISA=AVX2"
        )


def _limited_by_user():
    return "ONEDNN_MAX_CPU_ISA" in os.environ and _OURS not in os.environ
