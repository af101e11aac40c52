"""Says whether a training run would start, and what to do where it would not:  mpirun -n N python -m launch.doctor

Exit code 0: training would start. 1: at least one finding marked FAIL.
"""

import ctypes
import os
import shutil
import socket
import sys
import tempfile
import time
from dataclasses import dataclass

import numpy as np

from launch.cores import explain_cores, this_host
from launch.flags import Parser
from launch.world import open_world, under_mpi

NEEDED_DISK_GB = 2.0
CHECK_MB = 32


@dataclass(frozen=True)
class Finding:
    """One line of the report. level: OK, WARN or FAIL; fix: what to do about it."""

    level: str
    what: str
    fix: str = ""

    def __str__(self):
        return f"{self.level:<4}  {self.what}" + (f"\n      fix: {self.fix}" if self.fix else "")


def check_mpi(world):
    """Which MPI, how many ranks on how many hosts."""
    if not world.comm:
        return [Finding("OK", "no mpirun: a single process, no MPI needed")]
    from mpi4py import MPI

    vendor, version = MPI.get_vendor()
    hosts = sorted(set(world.allgather_object(socket.gethostname())))
    thread = {MPI.THREAD_SINGLE: "single", MPI.THREAD_FUNNELED: "funneled", MPI.THREAD_SERIALIZED: "serialized"}
    level = thread.get(MPI.Query_thread(), "multiple")
    found = [Finding("OK", f"{vendor} {'.'.join(map(str, version))}, {world.size} ranks on {len(hosts)} hosts, threads {level}")]
    if level == "single":
        found.append(
            Finding("FAIL", "this MPI has no thread support, and graph kernels call it from a thread", "use Open MPI or MPICH")
        )
    return found


def check_cores(world):
    """Which cores each rank has, and whether ranks share them."""
    plans = this_host(world)
    found = [Finding("OK", line) for line in explain_cores(plans)]
    if len({core for plan in plans for core in plan.graph}) < sum(len(plan.graph) for plan in plans):
        found.append(Finding("WARN", "ranks of this host share cores", "start fewer ranks: mpirun -n"))
    if len(plans) > 1 and all(plan.threads == 1 for plan in plans) and (os.cpu_count() or 1) >= 4 * len(plans):
        found.append(Finding("WARN", "each rank may use one core, the host has more", "mpirun --bind-to none"))
    return found


def check_memory(ring_mb=256):
    """Whether shared memory holds the loader's ring."""
    try:
        free = _available_mb()
    except OSError:
        return [Finding("WARN", "available memory unknown")]
    if free < ring_mb:
        return [Finding("FAIL", f"{free} MB of memory available, the loader's ring takes up to {ring_mb} MB", "a smaller --batch_size")]
    return [Finding("OK", f"{free} MB of memory available; the loader's ring is anonymous memory, /dev/shm is not used")]


def _available_mb():
    with open("/proc/meminfo", encoding="utf-8") as lines:
        return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("MemAvailable"))


def check_device(target):
    """Whether MindSpore has what this device needs."""
    import mindspore as ms

    if target == "CPU":
        return [Finding("OK", f"MindSpore {ms.__version__} on CPU")]
    try:
        ms.set_device(target)
        return [Finding("OK", f"MindSpore {ms.__version__} on {target}")]
    except (RuntimeError, ValueError) as error:
        missing = _missing_libraries() if target == "GPU" else []
        fix = f"missing libraries: {', '.join(missing)}; pip install 'cellwright[gpu]'" if missing else "install its driver and toolkit"
        return [Finding("FAIL", f"{target}: {str(error).strip().splitlines()[0]}", fix)]


def _missing_libraries():
    names = ("libcuda.so.1", "libcudart.so.11.0", "libcublas.so.11", "libcudnn.so.8", "libcurand.so.10", "libcufft.so.10")
    missing = []
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    return missing


def check_kernels():
    """Whether numba kernels can run inside a graph."""
    from kernels.graph import bridge_available

    if bridge_available():
        return [Finding("OK", "graph kernels were built")]
    return [Finding("WARN", "graph kernels were not built: stock operators are used", "install gcc, then reinstall cellwright")]


def check_threads():
    """Whether OpenCV and numba run with the threads that the loader expects."""
    import cv2
    import numba

    return [Finding("OK", f"OpenCV {cv2.__version__}, numba {numba.__version__}, threading layer {numba.config.THREADING_LAYER}")]


def check_port():
    """Whether a port can be opened, as MindSpore's scheduler on GPU and Ascend needs."""
    try:
        with socket.socket() as listener:
            listener.bind(("", 0))
            return [Finding("OK", f"a port can be opened (tried {listener.getsockname()[1]})")]
    except OSError as error:
        return [Finding("FAIL", f"no port can be opened: {error.strerror}", "allow listening sockets")]


def check_disk(folder="."):
    """Whether the run folder's disk has room, and can be written."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return [Finding("FAIL", f"{os.path.abspath(folder)} cannot be written: {error.strerror}", "another --run_dir")]
    free = shutil.disk_usage(folder).free / 1e9
    if free < NEEDED_DISK_GB:
        return [Finding("FAIL", f"{free:.1f} GB of disk free here", f"{NEEDED_DISK_GB:g} GB hold a run's checkpoints; another --run_dir")]
    return [Finding("OK", f"{free:.1f} GB of disk free here")]


def check_collective(world):
    """Whether an allreduce is right, and how fast it is."""
    if world.size == 1:
        return []
    numbers = np.full(CHECK_MB << 18, world.rank + 1, np.float32)
    world.barrier()
    began = time.perf_counter()
    total = world.allreduce(numbers)
    seconds = time.perf_counter() - began
    if not np.all(total == world.size * (world.size + 1) / 2):
        return [Finding("FAIL", "an allreduce over all ranks gives a wrong sum", "check the MPI installation of every host")]
    return [Finding("OK", f"allreduce over {world.size} ranks is right, {CHECK_MB} MB in {1e3 * seconds:.0f} ms")]


def check_rank_table(target, environment=os.environ):
    """Whether a rank table that the environment names can be read."""
    path = environment.get("RANK_TABLE_FILE")
    if target != "Ascend" or not path:
        return []
    if not os.path.exists(path):
        return [Finding("FAIL", f"RANK_TABLE_FILE={path} does not exist", "unset it: python -m launch.ranktable makes one")]
    return [Finding("OK", f"rank table {path}")]


def examine(world, target="CPU", folder="."):
    """Returns the Findings on this rank. Collective."""
    return [
        *check_mpi(world),
        *check_cores(world),
        *check_collective(world),
        *check_memory(),
        *check_threads(),
        *check_kernels(),
        *check_device(target),
        *check_port(),
        *check_disk(folder),
        *check_rank_table(target),
    ]


def main(arguments=None):
    from launch.runtime import quiet_environment

    parser = Parser(prog="python -m launch.doctor", description=__doc__.splitlines()[0])
    parser.add_argument("--device_target", choices=("CPU", "GPU", "Ascend"), default="CPU")
    parser.add_argument("--run_dir", default=".", help="where runs are to be written")
    given = parser.parse_args(arguments)
    launched = under_mpi()
    world = open_world()
    quiet_environment(1)
    findings = world.allgather_object(examine(world, given.device_target, given.run_dir))
    failed = any(finding.level == "FAIL" for found in findings for finding in found)
    if world.rank == 0:
        for finding in findings[0]:
            print(finding)
        for rank, found in enumerate(findings[1:], 1):
            for finding in found:
                if finding.level != "OK" and finding not in findings[0]:
                    print(f"rank {rank}: {finding}")
        verdict = "training would not start" if failed else "training would start"
        print(f"{verdict}{'' if launched else ' (single process)'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
