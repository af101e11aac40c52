"""MindSpore's own profiler: when each stock kernel ran, on what shapes, and in which cell.

Its raw files are read, because its summaries hold no times of single steps. On CPU the framework writes, for each run
of a kernel, one line of shapes (in the order in which they run) and a list of start times by full name.
"""

import contextlib
import csv
import math
import re
import shutil
import tempfile
import time
from collections import defaultdict, deque
from pathlib import Path
from typing import NamedTuple

from cellwright.engine.profiling.record import Execution, Node

_SHAPE = re.compile(r"input_\d+:\[([\d, ]*)\]")
# Gradients whose cell MindSpore names by the first of several equal cells: they are told apart by their shapes.
_GRADIENT_OF = {
    "Conv2DBackpropInput": "Conv2D", "Conv2DBackpropFilter": "Conv2D", "BatchNormGrad": "BatchNorm",
    "MaxPoolGrad": "MaxPool",
    "AvgPoolGrad": "AvgPool", "ReluGrad": "ReLU", "ReLUGrad": "ReLU",
}  # fmt: skip
_WEIGHT_KERNELS = ("Conv2DBackpropFilter", "BiasAddGrad", "BatchNormGrad")


class Run(NamedTuple):
    """One run of a stock kernel: full scope name, kind, start and duration in ns of time.perf_counter, shapes of its
    inputs."""

    name: str
    kind: str
    begin: int
    duration: int
    shapes: tuple


class StockProfiler:
    """MindSpore's profiler between `start` and `stop`, which returns a list of Run.

    GPU and Ascend: its device times are read too; not run on hardware.
    """

    def start(self):
        from mindspore import context, profiler

        self.folder = Path(tempfile.mkdtemp(prefix="cellwright-profile-"))
        kinds = {"GPU": ["CPU", "GPU"], "Ascend": ["CPU", "NPU"]}.get(context.get_context("device_target"), ["CPU"])
        self.on_cpu = kinds == ["CPU"]
        handler = profiler.tensorboard_trace_handler(str(self.folder), analyse_flag=not self.on_cpu)
        activities = [getattr(profiler.ProfilerActivity, kind) for kind in kinds]
        # Its files count from 1970, everything else here from the start of the machine.
        self.to_monotonic = time.perf_counter_ns() - time.time_ns()
        self.profile = profiler.profile(activities=activities, on_trace_ready=handler)
        self.profile.start()

    def stop(self):
        try:
            self.profile.stop()
            return (
                read_cpu_runs(self.folder, self.to_monotonic)
                if self.on_cpu
                else read_device_runs(self.folder, self.to_monotonic)
            )
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def read_cpu_runs(folder, shift):
    """Returns the Runs in a folder of MindSpore's profiler, in the order of time. shift: ns to add to its times."""
    runs = []
    for path in Path(folder).rglob("cpu_op_execute_timestamp_*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, times = line.split(";", 2)
            kind = re.sub(r"-op\d+$", "", name.rsplit("/", 1)[-1])
            for entry in times.rstrip("; ").split(" "):
                with contextlib.suppress(ValueError):
                    start, milliseconds, _ = entry.strip("; ").split(",")
                    runs.append(Run(name, kind, int(start) + shift, int(float(milliseconds) * 1e6), ()))
    runs.sort(key=lambda run: run.begin)
    shapes = defaultdict(deque)
    for path in Path(folder).rglob("cpu_framework_*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            _, short, _, rest = line.split(";", 3)
            shapes[short].append(
                tuple(tuple(int(n) for n in found.split(",") if n.strip()) for found in _SHAPE.findall(rest))
            )
    return [
        run._replace(shapes=shapes[short].popleft()) if shapes[short := run.name.rsplit("/", 1)[-1]] else run
        for run in runs
    ]


def read_device_runs(folder, shift):
    """Returns the Runs that the profiler of an accelerator lists in kernel_details.csv. Not run on hardware."""
    runs = []
    for path in Path(folder).rglob("kernel_details.csv"):
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                texts = row.get("Input Shapes", "").strip('"').split(";")
                shapes = tuple(
                    tuple(int(n) for n in text.split(",") if n.strip().isdigit()) for text in texts if text.strip()
                )
                begin = int(float(row["Start Time(us)"]) * 1e3) + shift
                runs.append(Run(row["Name"], row["Type"], begin, int(float(row["Duration(us)"]) * 1e3), shapes))
    return sorted(runs, key=lambda run: run.begin)


def phase_of(name, kind, before="forward"):
    """Returns the phase of a kernel by its scope; `before` where the scope does not tell."""
    if "allreduce" in name.lower() or kind.lower().startswith(("allreduce", "hcom_allreduce")):
        return "allreduce"
    if name.startswith("Gradients/"):
        return "backward"
    if "/update-" in name or "/counter-" in name or "-Momentum/" in name:
        return "update"
    return "forward" if name.startswith("Default/") and "/" in name[8:] else before


def layer_of(name):
    """Returns the cell's name within the network from a scope name, or the part of the step that it belongs to."""
    parts = [part for part in name.split("/")[:-1] if part not in ("Default", "Gradients", "Expand")]
    cells = [part.rsplit("-", 1)[0] for part in parts if "-" in part]
    if "network" in cells:
        inner = cells[cells.index("network") + 1 :]
        return ".".join(inner) or "network"
    return next((cell for cell in cells if cell != "gradients"), "")


def executions(runs, itemsize=4):
    """Returns (executions, nodes) of the Runs of one step."""
    layers, sizes = _layers(runs)
    found, nodes, before = [], [], "forward"
    for number, run in enumerate(runs):
        before = phase = phase_of(run.name, run.kind, before)
        layer = layers[number]
        direction = "" if phase in ("allreduce", "update") else "forward"
        if phase == "backward":
            direction = "weight gradient" if run.kind in _WEIGHT_KERNELS else "input gradient"
        flops, moved = _cost(run, sizes.get(layer), itemsize)
        end = run.begin + run.duration
        found.append(
            Execution(run.kind, layer, phase, direction, "stock", "graph", run.begin, end, run.duration, flops, moved)
        )
        nodes.append(Node(phase, run.begin, end))
    return found, nodes


def _layers(runs):
    """Returns the layer of each run, and {layer of a convolution: pixels of an image of its output}.

    The gradients of equal cells bear the name of one of them, so each is matched with the last forward run of the
    same input shapes that has no gradient of this kind yet: backward visits the layers in reverse.
    """
    waiting = defaultdict(list)  # (forward kind, shapes) -> layers, in the order of forward
    layers, sizes = [], {}
    for run in runs:
        layer = layer_of(run.name)
        forward = _GRADIENT_OF.get(run.kind)
        if forward is None:
            if run.kind in _GRADIENT_OF.values() and not run.name.startswith("Gradients/"):
                for kind, of in _GRADIENT_OF.items():
                    if of == run.kind:
                        waiting[kind, _key(kind, run.shapes, True)].append(layer)
        else:
            candidates = waiting.get((run.kind, _key(run.kind, run.shapes, False)))
            layer = candidates.pop() if candidates else layer
            if forward == "Conv2D" and run.shapes:
                sizes[layer] = math.prod(run.shapes[0][2:])
        layers.append(layer)
    return layers, sizes


def _key(kind, shapes, forward):
    """What the forward run of a gradient kernel has in common with it."""
    if kind == "Conv2DBackpropInput":
        return shapes[1:2]  # the weights
    if kind == "Conv2DBackpropFilter":  # gradient, input | input, weights
        return (
            (shapes[0], shapes[1][0])
            if forward and len(shapes) > 1
            else (shapes[1], shapes[0][1])
            if len(shapes) > 1
            else ()
        )
    return shapes[:1]


def _cost(run, out_pixels, itemsize):
    """Returns (FLOPs, bytes) of a run; what is not known about its output is taken from its largest input."""
    shapes = [shape for shape in run.shapes if shape]
    numbers = [math.prod(shape) for shape in shapes]
    if not numbers:
        return 0.0, 0.0
    moved = float(itemsize * (sum(numbers) + max(numbers)))
    if run.kind.startswith("Conv2D") and len(shapes) > 1 and len(shapes[1]) == 4:
        if run.kind == "Conv2D":
            (images, _, height, width), weights = shapes[0], shapes[1]
            pixels = out_pixels or height * width
            out = images * weights[0] * pixels
            return 2.0 * images * pixels * math.prod(weights), float(itemsize * (sum(numbers[:2]) + out))
        if run.kind == "Conv2DBackpropInput":
            return 2.0 * shapes[0][0] * math.prod(shapes[0][2:]) * math.prod(shapes[1]), moved
        # The window is not among the inputs of the weight gradient; `finish` puts the forward run's number here.
        return 0.0, moved
    if run.kind in ("MatMul", "MatMulV2", "BatchMatMul") and len(shapes) > 1:
        a, b = shapes[0][-2:], shapes[1][-2:]
        shared = a[1] if a[1] in b else a[0]
        return 2.0 * math.prod(a) * math.prod(b) / shared, moved
    per_number = {"BatchNorm": 8, "BatchNormGrad": 12, "ApplyMomentum": 5, "MaxPool": 4, "AddN": 1}.get(run.kind, 1)
    return float(per_number * max(numbers)), moved


def finish(found):
    """Returns the executions with the FLOPs of weight gradients, which are those of the layer's forward convolution."""
    forward = {e.layer: e.flops for e in found if e.kind == "Conv2D"}
    return [e._replace(flops=forward.get(e.layer, 0.0)) if e.kind == "Conv2DBackpropFilter" else e for e in found]
