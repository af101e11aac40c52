"""The process-wide settings of MindSpore and of the thread pools: the one place where a run touches global state."""

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

_ISA_FOR_STOCK_KERNELS = "AVX2"
_set_here = set()  # environment variables that were not the user's


def quiet_environment(threads):
    """Sets the environment variables that MindSpore and its math libraries read when they are loaded.

    To be called before mindspore is imported. What the user has set stays.
    """
    os.environ.setdefault("GLOG_v", "3")  # errors only: its warnings speak to MindSpore's own developers
    # MindSpore hands oneDNN plain NCHW. For that its AVX-512 build has reference loops alone where its AVX2 build has
    # compiled ones: 1,090 ms against 77 ms for a Tiny-DarkNet step (batch 32, 32x32 pixels, one Zen 5 core).
    if "ONEDNN_MAX_CPU_ISA" not in os.environ:
        os.environ["ONEDNN_MAX_CPU_ISA"] = _ISA_FOR_STOCK_KERNELS
        _set_here.add("ONEDNN_MAX_CPU_ISA")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))


def allow_all_instructions():
    """Takes back the limit that `quiet_environment` set for the stock kernels; before the first oneDNN kernel runs.

    A limit that the user has set stays. `accelerate` limits the framework's kernels again if it leaves
    convolutions to them.
    """
    if "ONEDNN_MAX_CPU_ISA" in _set_here:
        _set_here.discard("ONEDNN_MAX_CPU_ISA")
        del os.environ["ONEDNN_MAX_CPU_ISA"]


def instruction_set():
    """Returns what programs and stock kernels depend on: the vector instructions of this machine, and the limit on
    them.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), ())
    except OSError:
        flags = ()
    wide = sorted(flag for flag in flags if flag.startswith(("avx", "amx", "fma", "sse4")))
    return " ".join(wide), os.environ.get("ONEDNN_MAX_CPU_ISA", "")


def start_mindspore(device_target, device_id, threads, seed):
    """Sets graph mode, device, thread count and seed of this process's MindSpore.

    Raises ValueError where this machine has no such device.
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
    ms.set_seed(seed)


def graph_cache_folder(rank, size, setup):
    """Returns where the compiled graphs of this job are kept: a folder of its own for all that they depend on.

    MindSpore finds a graph by the order in which it was compiled, and a graph with kernels of ours names the
    shim's path and the slots of its table. So the folder's name is a digest of the sources, of their place and of
    `setup`, which has a stable repr.
    """
    import mindspore as ms

    digest = hashlib.sha256(repr((ms.__version__, instruction_set(), setup)).encode())
    root = Path(__file__).resolve().parents[2]
    for room in ("engine", "kernels", "nets"):
        for path in sorted((root / room).rglob("*")):
            if path.suffix in (".py", ".so"):
                digest.update(f"{path}\0".encode() + path.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "cellwright" / "graphs" / f"{digest.hexdigest()[:16]}-{rank}of{size}"


@contextlib.contextmanager
def without_compile_cache():
    """Context manager: graphs that are compiled inside are neither kept on disk nor taken from there.

    For those that a run may compile or not: MindSpore knows a graph on disk by its number alone.
    """
    import mindspore as ms

    before = ms.get_context("enable_compile_cache")
    ms.set_context(enable_compile_cache=False)
    try:
        yield
    finally:
        ms.set_context(enable_compile_cache=before)


def use_compile_cache(folder):
    """Lets MindSpore keep compiled graphs in this folder, and take them from there."""
    import mindspore as ms

    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a start takes longer, nothing else
    ms.set_context(enable_compile_cache=True, compile_cache_path=str(folder))


def take_graphs(folder, own):
    """Copies what another folder of compiled graphs has and this process's own has not."""
    for path in Path(folder).rglob("compile_*"):
        copy = Path(own) / path.relative_to(folder)
        if not copy.exists():
            with contextlib.suppress(OSError):  # it is compiled then
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy.with_suffix(".part"))
                copy.with_suffix(".part").replace(copy)
