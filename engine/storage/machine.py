"""What of the machine decides the bits of a run beside its settings: threads and instruction set."""

import os
import sys

import mindspore as ms

_LEVELS = (("avx512_core_amx", "amx_tile"), ("avx512_bf16", "avx512_bf16"), ("avx512", "avx512f"), ("avx2", "avx2"))


def machine() -> dict:
    """Returns a dict of this process: threads of MindSpore and of the project's own kernels (None: not loaded), the
    widest instruction set of the CPU, and oneDNN's limit, as the environment has it.
    """
    shim = sys.modules.get("cellwright.kernels.csrc.shim")  # not loaded: no kernel of ours can have run
    own = shim is not None and shim.shim_available()
    return {
        "mindspore_threads": int(ms.get_context("runtime_num_threads")),
        "kernel_threads": shim.set_threads(0) if own else None,
        "instruction_set": _instruction_set(),
        "ONEDNN_MAX_CPU_ISA": os.environ.get("ONEDNN_MAX_CPU_ISA"),
    }


def changes(before: dict, now: dict) -> str:
    """Returns in words in what two machines differ, or an empty string; what one of them does not know is no
    difference.
    """
    parts = []
    for name, value in now.items():
        if name in before and before[name] != value and None not in (before[name], value):
            parts.append(f"{name} {before[name]} -> {value}")
    return ", ".join(parts)


def _instruction_set():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line.split(":", 1)[1].split() for line in file if line.startswith(("flags", "Features"))), [])
    except OSError:
        flags = []
    return next((name for name, flag in _LEVELS if flag in flags), "other")
