"""The doctor's findings on devices: their number, libraries, plugin, rank table and collective."""

import os

import numpy as np

from cellwright.launch.host.collectives import Cluster, choose_backend
from cellwright.launch.host.devices import device_of, present_devices
from cellwright.launch.host.finding import Finding
from cellwright.launch.host.gpu_libraries import DRIVER, missing_libraries, use_gpu_libraries
from cellwright.launch.host.rank_table import HCCN_CONF, table_for


def check_devices(world, target):
    """Whether every rank of this host has a device. Collective."""
    if target == "CPU":
        return []
    try:
        device = device_of(world, target)
    except ValueError as error:
        return [Finding("FAIL", str(error), "as many ranks as devices")]
    present = present_devices(target)
    if present is None:
        return [
            Finding(
                "WARN", f"/dev does not show any {target}", "install the driver; in a container, hand the devices in"
            )
        ]
    return [Finding("OK", f"{len(present)} {target} devices on this host, this rank takes number {device}")]


def check_gpu_libraries():
    """Which of the libraries that MindSpore's GPU plugin wants are missing."""
    opened = use_gpu_libraries()
    missing = missing_libraries()
    driver = missing.pop(DRIVER, None)
    found = []
    if missing:
        found.append(Finding("FAIL", f"missing CUDA libraries: {', '.join(missing)}", "pip install 'cellwright[gpu]'"))
    else:
        found.append(Finding("OK", f"CUDA 11 libraries: {'of the [gpu] extra' if opened else 'of the system'}"))
    if driver:
        found.append(
            Finding("FAIL", f"missing {DRIVER}: no NVIDIA driver", "install the driver, or hand it into the container")
        )
    return found


def check_device(target, device=0):
    """Whether MindSpore has what this device needs."""
    import mindspore as ms

    found = check_gpu_libraries() if target == "GPU" else []
    try:
        ms.set_device(target, None if target == "CPU" else device)
        return [*found, Finding("OK", f"MindSpore {ms.__version__} on {target}")]
    except (RuntimeError, ValueError) as error:
        fix = (
            "see the findings above"
            if any(each.level == "FAIL" for each in found)
            else "install its driver and toolkit"
        )
        return [*found, Finding("FAIL", f"{target}: {str(error).strip().splitlines()[0]}", fix)]


def check_cluster(world, target, backend):
    """Whether MindSpore's own collective comes up over all ranks and sums right. Collective."""
    try:
        chosen = choose_backend(backend, target, world.size)
    except ValueError as error:
        return [Finding("FAIL", str(error), "another --backend")]
    if chosen in ("none", "mpi"):
        return []
    import mindspore as ms

    from cellwright.launch.host.collective_cell import CollectiveAllreduce

    try:
        cluster = Cluster(world)
    except RuntimeError as error:
        return [Finding("FAIL", f"{chosen}: {str(error).splitlines()[0]}", "let ranks reach each other by TCP")]
    ms.set_context(mode=ms.GRAPH_MODE)
    total = CollectiveAllreduce(world.size)(ms.Tensor(np.full(1000, world.rank + 1, np.float32))).asnumpy()
    cluster.close()
    if not np.all(total == world.size * (world.size + 1) / 2):
        return [Finding("FAIL", f"{chosen} gives a wrong sum", "another --backend")]
    return [Finding("OK", f"{chosen} over {world.size} ranks is right")]


def check_rank_table(world, target, given=None, hccn_conf=HCCN_CONF, environment=os.environ):
    """Whether a rank table fits this world, or one can be made. Collective."""
    if target != "Ascend":
        return []
    try:
        table = table_for(world, given, hccn_conf, environment)
    except ValueError as error:
        return [Finding("FAIL", str(error), "leave it out: python -m launch.ranktable makes one")]
    if table is None:
        return [
            Finding("WARN", f"no {hccn_conf} on every host: no rank table, MindSpore's cluster finds the devices", "")
        ]
    if given or environment.get("RANK_TABLE_FILE"):
        return [Finding("OK", f"rank table {table} fits this world")]
    if world.local_rank == 0:
        os.unlink(table)
    return [Finding("OK", f"a rank table can be made from {hccn_conf}")]
