"""Which oneDNN programs use: MindSpore's own, or a copy of it that may use other instructions.

A process sets oneDNN's instruction limit once for each loaded library. For plain NCHW its AVX-512 build has
reference loops alone where its AVX2 build has compiled ones (ResNet-18, 96 pixels, batch 4: 7.3 s a step and 0.9
s), while programs are twice as fast with AVX-512. So programs have an instance of their own, and the framework's
can be limited where convolutions stay with it. What the user has set in ONEDNN_MAX_CPU_ISA holds for both.
"""

import ctypes
import os
import shutil
import tempfile
from pathlib import Path

import mindspore

_AVX2 = 0x7  # dnnl_cpu_isa_avx2
_OURS = "CELLWRIGHT_STOCK_LIMIT"  # set where the limit in the environment is not the user's


def framework_library():
    """Returns the path of MindSpore's oneDNN."""
    return Path(mindspore.__file__).parent / "lib" / "libdnnl.so.3"


def program_library():
    """Returns the path of the oneDNN that programs use, and True if it is a copy that may use all instructions."""
    source = framework_library()
    if _limited_by_user() or not source.exists():
        return source, False
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = source.stat()
    target = home / "cellwright" / f"onednn-{mindspore.__version__}-{found.st_size}-{found.st_mtime_ns}" / source.name
    try:
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as written:
                pass
            shutil.copyfile(source, written.name)
            os.replace(written.name, target)
    except OSError:
        return source, False
    return target, True


def limit_framework():
    """Limits the framework's own convolutions to AVX2, if the user has set no limit; before the first of them runs."""
    if not _limited_by_user():
        # Both are needed: the library may have read the variable, or may be linked into another one that reads it
        # later.
        os.environ["ONEDNN_MAX_CPU_ISA"], os.environ[_OURS] = "AVX2", "1"
        ctypes.CDLL(str(framework_library())).dnnl_set_max_cpu_isa(_AVX2)


def _limited_by_user():
    return "ONEDNN_MAX_CPU_ISA" in os.environ and _OURS not in os.environ
