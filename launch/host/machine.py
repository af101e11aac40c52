"""What figures depend on: the machine, and the versions of packages."""

import importlib.metadata
import os
import platform
from pathlib import Path

PACKAGES = ("cellwright", "mindspore", "numpy", "opencv-python-headless", "numba", "mpi4py", "torch")


def machine():
    """Returns what the figures depend on: processor, cores of this process, memory, system, Python."""
    fields = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": fields.get("model name", platform.processor()),
        "instructions": " ".join(name for name in ("avx2", "avx512f") if name in fields.get("flags", "").split()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def versions():
    """Returns the versions of the packages that are installed, of those that the figures depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
