"""Which device each rank of a host takes: a pure plan from what every rank may see."""

import os
from pathlib import Path

VARIABLES = {"GPU": "CUDA_VISIBLE_DEVICES", "Ascend": "ASCEND_RT_VISIBLE_DEVICES"}
_NODES = {"GPU": "nvidia", "Ascend": "davinci"}


def present_devices(device_target, root="/dev"):
    """Returns the numbers of the devices that this host has, a tuple; None where it does not tell."""
    stem = _NODES[device_target]
    found = [path.name[len(stem) :] for path in Path(root).glob(f"{stem}*")]
    numbers = sorted(int(number) for number in found if number.isdigit())
    if not numbers:
        return None
    # CUDA counts what it finds from 0, whatever the numbers of the nodes are.
    return tuple(range(len(numbers))) if device_target == "GPU" else tuple(numbers)


def visible_devices(device_target, environment, present=None):
    """Returns the names of the devices that a process with this environment may use, in order; None for all there are.

    A name is a number or, on GPU, the beginning of a UUID. ValueError for one that is not there, or is named twice.
    """
    variable = VARIABLES[device_target]
    listed = environment.get(variable)
    if listed is None:
        return present if present is None else tuple(str(number) for number in present)
    names = tuple(part.strip() for part in listed.split(",") if part.strip())
    if len(set(names)) < len(names):
        raise ValueError(f"{variable}={listed}: one device is named twice")
    for name in names:
        if name.startswith(("GPU-", "MIG-")) and device_target == "GPU":
            continue
        if not name.isdigit():
            raise ValueError(f"{variable}={listed}: {name!r} is not a device; give numbers such as 0,1,2")
        if present is not None and int(name) not in present:
            raise ValueError(f"{variable}={listed}: there is no device {name}, this host has {_listed(present)}")
    return names


def plan_devices(visible, device_target):
    """Returns the device id of each local rank: an index into what that rank may see.

    visible: a list by local rank of what `visible_devices` returns. Ranks that see the same devices take them in turn;
    where the launcher shows each rank its own, all take id 0. ValueError with one line where there are more ranks than
    devices.
    """
    variable, taken, plan = VARIABLES[device_target], {}, []
    for rank, mine in enumerate(visible):
        index = sum(other == mine for other in visible[:rank])
        if mine is not None:
            if index >= len(mine):
                shown = f"{len(mine)} {device_target} device{'' if len(mine) == 1 else 's'} ({_listed(mine) or 'none'})"
                raise ValueError(
                    f"{len(visible)} ranks on this host, but local rank {rank} may use {shown}: "
                    f"start at most one rank a device (mpirun -n, or {variable})"
                )
            other = taken.setdefault(mine[index], rank)
            if other != rank:
                raise ValueError(
                    f"local ranks {other} and {rank} would both take {device_target} {mine[index]}: see {variable}"
                )
        plan.append(index)
    return plan


def device_of(world, device_target, device_id=None, environment=os.environ):
    """Returns this rank's id for `mindspore.set_device`; 0 on CPU. Collective; ValueError on all ranks alike."""
    if device_target == "CPU":
        return 0
    try:
        mine = visible_devices(device_target, environment, present_devices(device_target))
    except ValueError as error:
        mine = error
    everywhere = world.on_this_host(mine)
    for found in everywhere:
        if isinstance(found, ValueError):
            raise found
    if device_id is None:
        return plan_devices(everywhere, device_target)[world.local_rank]
    if world.local_size > 1:
        raise ValueError(
            f"--device_id {device_id}: {world.local_size} ranks on this host cannot share one device; leave it out"
        )
    return device_id


def _listed(names):
    return ", ".join(map(str, names))
