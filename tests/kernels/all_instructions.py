"""Tests with all instructions of this machine: the suite limits oneDNN to AVX2 for the framework's sake, so those get a
process of their own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_HAS_AVX512 = "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
needs_avx512 = pytest.mark.skipif(not _HAS_AVX512, reason="this machine has no AVX-512")
_FOLDERS = [str(Path(__file__).parent / folder) for folder in ("compiler", "nodes", ".")]
_BEGIN = f"import sys, mindspore; sys.path[:0] = {_FOLDERS}; mindspore.set_context(mode=0, device_target='CPU')\n"


def run(code):
    """Runs Python code that may import the files of these folders; fails if it does."""
    line, environment = [sys.executable, "-c", _BEGIN + code], {**os.environ, "ONEDNN_MAX_CPU_ISA": "DEFAULT"}
    subprocess.run(line, check=True, env=environment, timeout=300)
