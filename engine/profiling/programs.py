"""From the events of kernels.nodes.clock to executions and nodes."""

from cellwright.engine.profiling.record import Execution, Node

# FLOPs and bytes for each number; an allreduce's are those of the message.
_COSTS = {"allreduce": (0.0, 4.0), "momentum": (5.0, 20.0), "adamw": (18.0, 28.0), "all_finite": (1.0, 4.0)}
_UPDATE = ("momentum", "adamw", "all_finite", "sums and momentum", "sums and adamw")
_PHASES = {"allreduce": "allreduce", **dict.fromkeys(_UPDATE, "update")}


def start_clock():
    """Returns a running Clock, or None where there is no shim."""
    from cellwright.kernels.csrc import shim_available
    from cellwright.kernels.nodes.clock import Clock

    return Clock().__enter__() if shim_available() else None


class Programs:
    """Turns events into executions; remembers the plans of programs that it has met."""

    def __init__(self):
        self.plans = {}

    def read(self, events):
        """Returns (executions, nodes) of the events of one step."""
        executions, nodes = [], []
        for what in sorted(set(events["what"].tolist())):
            own = events[events["what"] == what]
            from cellwright.kernels.nodes.clock import node_name

            name = node_name(what)
            if name is not None:
                for event in own:
                    execution, node = _node(name, event)
                    executions.append(execution)
                    nodes.append(node)
            else:
                self._program(what, own, executions, nodes)
        return executions, nodes

    def _program(self, what, events, executions, nodes):
        if what not in self.plans:
            from cellwright.kernels.nodes.clock import program_plan

            self.plans[what] = program_plan(what)
        if self.plans[what] is None:
            return
        phase, _, operations = self.plans[what]
        phase = "forward" if phase == "evaluation" else phase
        inside = events[events["list"] >= 0]
        threads = max(1, len(set(inside["thread"].tolist())))
        rows = zip(*(inside[name].tolist() for name in ("begin", "end", "size", "stage", "list", "index", "thread")))
        for begin, end, size, stage, list_number, index, thread in rows:
            operation = operations[stage, list_number, index]
            executions.append(
                Execution(
                    operation.kind, operation.layer, phase, operation.direction, "program", f"program thread {thread}",
                    begin, end, (end - begin) / threads,
                    operation.flops * size, operation.bytes * size + operation.run_bytes,
                )
            )  # fmt: skip
        for node in events[events["list"] < 0]:
            begin, end = int(node["begin"]), int(node["end"])
            nodes.append(Node(phase, begin, end))
            within = (inside["begin"] >= begin) & (inside["end"] <= end)
            busy = float((inside["end"][within] - inside["begin"][within]).sum()) / threads
            idle = max(0.0, end - begin - busy)
            executions.append(Execution("threads waiting", "", phase, "", "program", "", begin, begin, idle))


def _node(name, event):
    begin, end, size = int(event["begin"]), int(event["end"]), int(event["size"])
    phase = _PHASES.get(name) or ("allreduce" if "allreduce" in name else "forward")
    flops, moved = (
        each * size for each in _COSTS.get(name, _COSTS["allreduce"] if phase == "allreduce" else (0.0, 0.0))
    )
    lane = "collectives" if phase == "allreduce" else "nodes"
    return Execution(name, "", phase, "", "node", lane, begin, end, end - begin, flops, moved), Node(phase, begin, end)
