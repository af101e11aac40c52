"""Says whether a training run would start, and what to do where it would not:  mpirun -n N python -m launch.doctor

With --data_path DIR every image is read and decoded, and what is unusable, skipped or labelled in two ways is listed.
Exit code 0: training would start. 1: at least one finding marked FAIL.
"""

import importlib.util
import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cellwright.dataloader.workers.ring_buffer import available_memory
from cellwright.launch.dry_run import ring_bytes
from cellwright.launch.host.collectives import BACKENDS
from cellwright.launch.host.cores import explain_cores, this_host
from cellwright.launch.host.device_findings import (
    check_cluster,
    check_device,
    check_devices,
    check_rank_table,
)
from cellwright.launch.host.finding import Finding
from cellwright.launch.host.mpi_world import open_world, under_mpi
from cellwright.launch.settings.flag_parser import Parser

NEEDED_DISK_GB = 2.0
CHECK_MB = 32
SHM_MB_A_RANK = 64
_LAYERS = {"tbb": "tbbpool", "omp": "omppool", "workqueue": "workqueue"}


def check_mpi(world):
    """Which MPI, how many ranks on how many hosts."""
    if not world.comm:
        return [Finding("OK", "no mpirun: a single process, no MPI needed")]
    from mpi4py import MPI

    vendor, version = MPI.get_vendor()
    hosts = sorted(set(world.allgather_object(socket.gethostname())))
    thread = {MPI.THREAD_SINGLE: "single", MPI.THREAD_FUNNELED: "funneled", MPI.THREAD_SERIALIZED: "serialized"}
    level = thread.get(MPI.Query_thread(), "multiple")
    found = [
        Finding(
            "OK",
            f"{vendor} {'.'.join(map(str, version))}, {world.size} ranks on {len(hosts)} "
            f"host{'s' if len(hosts) > 1 else ''}, threads {level}",
        )
    ]
    if level == "single":
        found.append(
            Finding(
                "FAIL",
                "this MPI has no thread support, and graph kernels call it from a thread",
                "use Open MPI or MPICH",
            )
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


def check_memory(world, batch_size=256, image_size=224, workers=None):
    """Whether memory holds the loader's rings of this host's ranks, and /dev/shm what MPI puts there. Collective."""
    workers = workers or len(this_host(world)[world.local_rank].workers)
    ring_mb = ring_bytes(batch_size, image_size, workers) * world.local_size >> 20
    what = f"the loader's rings take {ring_mb} MB on this host (--batch_size {batch_size}, {workers} workers a rank)"
    try:
        free = available_memory() >> 20
    except OSError:
        return [Finding("WARN", f"available memory unknown; {what}")]
    if free < ring_mb:
        return [Finding("FAIL", f"{free} MB of memory available, {what}", "a smaller --batch_size, or fewer --workers")]
    found = [Finding("OK", f"{free} MB of memory available, {what}; the rings are anonymous memory, not in /dev/shm")]
    shm, needed = _shm_mb(), SHM_MB_A_RANK * world.local_size
    if world.local_size > 1 and shm is not None and shm < needed:
        fix = f"mount it larger (docker run --shm-size={needed}m)"
        found.append(
            Finding("WARN", f"{shm} MB free in /dev/shm, where MPI keeps its buffers: {needed} MB are safe", fix)
        )
    return found


def _shm_mb():
    try:
        return shutil.disk_usage("/dev/shm").free >> 20
    except OSError:
        return None


def check_kernels():
    """Whether numba kernels can run inside a graph."""
    from cellwright.kernels.csrc import shim_available

    if shim_available():
        return [Finding("OK", "graph kernels were built")]
    return [
        Finding(
            "WARN", "graph kernels were not built: stock operators are used", "install gcc, then reinstall cellwright"
        )
    ]


def check_threads():
    """With how many threads OpenCV, numba and OpenMP run, and which threading layers numba has."""
    import cv2
    import numba

    layers = [name for name, module in _LAYERS.items() if importlib.util.find_spec(f"numba.np.ufunc.{module}")]
    versions = f"OpenCV {cv2.__version__}, numba {numba.__version__}"
    threads = f"OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}, numba {numba.config.NUMBA_NUM_THREADS}"
    found = [Finding("OK", f"{versions}; threads: {threads}; threading layers: {', '.join(layers)}")]
    if not layers:
        found.append(Finding("FAIL", "numba has no threading layer", "reinstall numba"))
    return found


def check_port():
    """Whether a port can be opened, as MindSpore's scheduler on GPU and Ascend needs."""
    try:
        with socket.socket() as listener:
            listener.bind(("", 0))
            return [Finding("OK", f"a port can be opened (tried {listener.getsockname()[1]})")]
    except OSError as error:
        return [Finding("FAIL", f"no port can be opened: {error.strerror}", "allow listening sockets")]


def check_disk(folder="."):
    """Whether the run folder's disk has room, and can be written; a folder that is not there yet would be made."""
    folder = next(place for place in (Path(folder).absolute(), *Path(folder).absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return [Finding("FAIL", f"{folder} cannot be written: {error.strerror}", "another --run_dir")]
    free = shutil.disk_usage(folder).free / 1e9
    if free < NEEDED_DISK_GB:
        return [
            Finding(
                "FAIL",
                f"{free:.1f} GB of disk free here",
                f"{NEEDED_DISK_GB:g} GB hold a run's checkpoints; another --run_dir",
            )
        ]
    return [Finding("OK", f"{free:.1f} GB of disk free here")]


def check_collective(world):
    """Whether an allreduce is right, and how fast it is."""
    if world.size == 1:
        return []
    numbers = np.full(CHECK_MB << 18, world.rank + 1, np.float32)
    seconds = []
    for _ in range(3):  # the first turn pays for fresh memory and for the connection
        world.barrier()
        began = time.perf_counter()
        total = world.allreduce(numbers)
        seconds.append(time.perf_counter() - began)
    if not np.all(total == world.size * (world.size + 1) / 2):
        return [
            Finding("FAIL", "an allreduce over all ranks gives a wrong sum", "check the MPI installation of every host")
        ]
    speed = f"{CHECK_MB} MiB in {1e3 * min(seconds):.0f} ms, {CHECK_MB / 1024 / min(seconds):.2f} GiB/s"
    return [Finding("OK", f"allreduce over {world.size} ranks is right, {speed}")]


def check_data(world, data_path, val_data_path=None):
    """What the images are like; rank 0 looks."""
    if data_path is None or world.rank:
        return []
    from cellwright.launch.data import open_sources
    from cellwright.launch.data_findings import check_images
    from cellwright.launch.settings.resolve import dataset_at
    from cellwright.launch.settings.run_settings import RunSettings

    try:
        settings = RunSettings(data_path=data_path, val_data_path=val_data_path, dataset=dataset_at(data_path))
        training, held_back = open_sources(settings)
    except (ValueError, OSError) as error:
        return [Finding("FAIL", str(error), "a folder of class folders, or one with train/ and val/")]
    splits = {"training": training} | ({"held back": held_back} if held_back else {})
    return check_images(splits)


def examine(world, given):
    """Returns the Findings on this rank, for the flags of `main`. Collective."""
    target = given.device_target
    return [
        *check_mpi(world),
        *check_cores(world),
        *check_collective(world),
        *check_memory(world, given.batch_size, given.image_size, given.workers),
        *check_threads(),
        *check_kernels(),
        *check_devices(world, target),
        *check_device(target),
        *check_port(),
        *check_cluster(world, target, given.backend),
        *check_disk(given.run_dir),
        *check_rank_table(world, target, given.rank_table),
        *check_data(world, given.data_path, given.val_data_path),
    ]


def main(arguments=None):
    from cellwright.launch.host.runtime import quiet_environment

    parser = Parser(prog="python -m launch.doctor", description=__doc__.partition(":  ")[0])
    parser.add_argument("--device_target", choices=("CPU", "GPU", "Ascend"), default="CPU", help="where to run")
    parser.add_argument("--run_dir", default=".", help="where runs are to be written")
    parser.add_argument("--data_path", help="look at each of these images too")
    parser.add_argument("--val_data_path", help="the held-back split, where it is not beside the training split")
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="try this collective too")
    parser.add_argument("--rank_table", help="Ascend: check this table; none: RANK_TABLE_FILE")
    parser.add_argument("--batch_size", type=int, default=256, help="of each rank, for the loader's memory")
    parser.add_argument("--image_size", type=int, default=224, help="in pixels, for the loader's memory")
    parser.add_argument("--workers", type=int, help="loader processes of each rank; none: from its cores")
    given = parser.parse_args(arguments)
    for name in ("batch_size", "image_size", "workers"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            parser.error(f"--{name} {getattr(given, name)}: must be at least 1")
    if given.val_data_path and not given.data_path:
        parser.error(f"--val_data_path {given.val_data_path}: it is looked at beside --data_path")
    launched = under_mpi()
    try:
        world = open_world()
    except ValueError as error:
        print(Finding("FAIL", str(error), "see above"))
        return 1
    quiet_environment(1)
    findings = world.allgather_object(examine(world, given))
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
