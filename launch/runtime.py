"""The process-wide settings of MindSpore and of the thread pools: the one place where a run touches global state."""

import os
from pathlib import Path


def quiet_environment(threads):
    """Sets the environment variables that MindSpore and its math libraries read when they are loaded.

    To be called before mindspore is imported. What the user has set stays.
    """
    os.environ.setdefault("GLOG_v", "3")  # errors only: its warnings speak to MindSpore's own developers
    # MindSpore hands oneDNN plain NCHW. For that its AVX-512 build has reference loops alone where its AVX2 build has
    # compiled ones: 1,090 ms against 77 ms for a Tiny-DarkNet step (batch 32, 32x32 pixels, one Zen 5 core).
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))


def start_mindspore(device_target, device_id, threads, seed, cache):
    """Sets graph mode, device, thread count, seed and the compile cache of this process's MindSpore.

    cache: folder of compiled graphs, or None. Raises ValueError where this machine has no such device.
    """
    import mindspore as ms

    try:
        ms.set_context(mode=ms.GRAPH_MODE)
        ms.set_device(device_target, None if device_target == "CPU" else device_id)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"--device_target {device_target}: MindSpore cannot use it here ({reason})") from None
    if device_target == "CPU":
        ms.set_context(runtime_num_threads=threads)
    if cache:
        Path(cache).mkdir(parents=True, exist_ok=True)
        ms.set_context(enable_compile_cache=True, compile_cache_path=str(cache))
    ms.set_seed(seed)
