"""Which core does what: a pure plan for the ranks of one host, their graph threads and their loader workers."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CorePlan:
    """The cores of one rank. graph: those that its graph threads run on; workers: one for each loader worker."""

    graph: tuple
    workers: tuple

    @property
    def threads(self):
        """How many threads a graph kernel should use."""
        return len(self.graph)


def plan_cores(affinity, local_rank, local_size, siblings=None, nodes=None, device_target="CPU", quota=None):
    """Returns the CorePlan of one rank.

    affinity: the cores that each rank of this host may use, a list of sets by local rank. Where the launcher gave every
    rank its own cores they stay; where all ranks see the same ones they are dealt out, whole NUMA nodes first, one
    hardware thread of each physical core before the second. siblings: core -> the set of hardware threads of its
    physical core. nodes: core -> NUMA node. quota: CPUs that the cgroup grants to all of them, a float, or None. On CPU
    the graph uses all of a rank's cores and the workers share them; elsewhere the graph needs one and the workers get
    the rest.
    """
    siblings, nodes = siblings or {}, nodes or {}
    mine = sorted(affinity[local_rank])
    if not mine:
        raise ValueError(f"local rank {local_rank} may use no core at all")
    sharing = [rank for rank in range(local_size) if set(affinity[rank]) & set(mine)]
    if len(sharing) > 1:
        mine = _deal(
            sorted(set().union(*(affinity[rank] for rank in sharing)) & set(mine)),
            sharing.index(local_rank),
            len(sharing),
            siblings,
            nodes,
        )
    physical = _one_of_each(mine, siblings)
    if quota is not None:
        physical = physical[: max(1, int(quota / local_size))]
    if device_target == "CPU":
        return CorePlan(tuple(physical), tuple(physical))
    rest = [core for core in mine if core != physical[0]] or mine
    return CorePlan((physical[0],), tuple(rest))


def _deal(cores, place, places, siblings, nodes):
    order = sorted(cores, key=lambda core: (nodes.get(core, 0), min(siblings.get(core, {core})), core))
    units = []  # physical cores, each the list of its hardware threads
    for core in order:
        if units and units[-1][0] in siblings.get(core, ()):
            units[-1].append(core)
        else:
            units.append([core])
    if len(units) < places:  # more ranks than physical cores: hardware threads, then cores in turn
        return [order[place % len(order)]]
    first, end = place * len(units) // places, (place + 1) * len(units) // places
    return sorted(core for unit in units[first:end] for core in unit)


def _one_of_each(cores, siblings):
    taken, chosen = set(), []
    for core in cores:
        if core not in taken:
            chosen.append(core)
            taken |= siblings.get(core, {core})
    return chosen


def crowded(plans, quota=None):
    """Whether the graphs of a host's CorePlans have more threads than cores to run on. quota: see `plan_cores`."""
    cores = len(set().union(*(plan.graph for plan in plans)))
    return sum(plan.threads for plan in plans) > min(cores, quota or cores)


def host_topology(cores, root="/sys/devices/system/cpu"):
    """Returns (siblings, nodes) of these cores as the kernel tells them; what it does not tell is left out."""
    siblings, nodes = {}, {}
    for core in cores:
        folder = Path(root) / f"cpu{core}"
        try:
            siblings[core] = _cpu_list((folder / "topology" / "thread_siblings_list").read_text())
        except OSError:
            pass
        for node in folder.glob("node[0-9]*"):
            nodes[core] = int(node.name[4:])
    return siblings, nodes


def cgroup_quota(path="/sys/fs/cgroup/cpu.max"):
    """Returns how many CPUs the cgroup grants, or None for no limit."""
    try:
        quota, period = Path(path).read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _cpu_list(text):
    cores = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cores |= set(range(int(first), int(last or first) + 1))
    return cores


def explain_cores(plans):
    """Returns one line for each local rank's CorePlan."""
    return [
        f"local rank {rank}: graph on cores {_short(plan.graph)}, loader workers on {_short(plan.workers)}"
        for rank, plan in enumerate(plans)
    ]


def _short(cores):
    runs = []
    for core in sorted(cores):
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def this_host(world, device_target="CPU"):
    """Returns the CorePlans of all ranks on this host, from what each may really use. Collective over the world."""
    here = world.on_this_host(sorted(os.sched_getaffinity(0)))
    everywhere = sorted(set().union(*here))
    siblings, nodes = host_topology(everywhere)
    quota = cgroup_quota()
    return [plan_cores(here, rank, len(here), siblings, nodes, device_target, quota) for rank in range(len(here))]
