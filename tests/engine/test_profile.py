"""A profile of real steps: what it records, and that nothing of it is left afterwards."""

import math
import time

import numpy as np
import pytest
from any_forward import Line, squares
from profile_nets import Doubled
from small_net import ConvNet, images_and_labels, step_of

from cellwright.engine import AdamW, Momentum, TrainOneStep, profile, profiling
from cellwright.engine.profiling.stock import layer_of, phase_of
from cellwright.kernels.compiler import accelerate
from cellwright.kernels.csrc import shim_available
from cellwright.kernels.nodes import AdamWStep, MomentumStep
from cellwright.kernels.nodes.clock import Clock

pytestmark = pytest.mark.alone

SIDE, BATCH, STEPS = 8, 8, 4
needs_shim = pytest.mark.skipif(not shim_available(), reason="the shim was not built")


def endless(size=BATCH, pause=0.0):
    images, labels = images_and_labels(size, size=SIDE)
    while True:
        time.sleep(pause)
        yield images, labels


@pytest.fixture(scope="module")
def programs():
    """(step, its Recorder) of a network of which a part runs as a program."""
    step = step_of(accelerate(ConvNet()))
    return step, profiling.run_steps(step, endless(), 0.01, STEPS, skip=2, kernels=True)


@pytest.fixture(scope="module")
def stock():
    step = step_of(Doubled())
    return step, profiling.run_steps(step, endless(), 0.01, STEPS, skip=1, kernels=True)


@pytest.fixture(scope="module")
def made(programs):
    record = programs[1].record
    record.peaks = {"gflops": 100.0, "gbytes": 20.0, "threads": 2}
    return profiling.build_profile([record], {"net": "test"})


def test_the_phases_of_a_step_add_up_to_it(programs, stock):
    for _, recorder in (programs, stock):
        assert len(recorder.record.steps) == STEPS
        for step in recorder.record.steps:
            phases = step.phases()
            assert sum(phases.values()) == pytest.approx(step.nanoseconds, rel=1e-9)
            assert all(phases[name] > 0 for name in ("forward", "backward", "update", "data wait"))
            assert step.images == BATCH and math.isfinite(step.loss)
        for before, after in zip(recorder.record.steps[:-1], recorder.record.steps[1:]):
            assert before.end == after.begin


@needs_shim
def test_programs_are_seen_by_layer_and_direction(made):
    rows = {(row["kind"], row["layer"], row["direction"]): row for row in made["kernels"]}
    pixels = BATCH * SIDE * SIDE
    for kind, direction in (("conv", "forward"), ("weight_gradient", "weight gradient")):
        assert rows[kind, "body.0", direction]["flops"] == 2 * pixels * 3 * 16 * 9
        assert rows[kind, "body.3", direction]["flops"] == 2 * pixels * 16 * 16 * 9
    assert ("conv_input_gradient", "body.3", "input gradient") in rows
    assert ("conv_input_gradient", "body.0", "input gradient") not in rows  # nobody wants the gradient of the images
    assert ("statistics", "body.1", "forward") in rows and ("norm_reduce", "body.4", "weight gradient") in rows
    assert rows["conv", "body.0", "forward"]["source"] == "program"


@needs_shim
def test_what_runs_in_a_program_fits_into_its_node(programs):
    for step in programs[1].record.steps:
        inside = sum(e.nanoseconds for e in step.executions if e.source == "program")
        nodes = step.phases()
        # Operations and the waiting of threads are what the two nodes consist of; forward also has stock kernels.
        assert inside <= 1.02 * (nodes["forward"] + nodes["backward"])
        assert all(step.begin <= e.begin and e.end <= step.end for e in step.executions)


def test_stock_kernels_have_flops_and_their_own_layer(stock):
    made = profiling.build_profile([stock[1].record])
    rows = {(row["kind"], row["layer"]): row for row in made["kernels"]}
    pixels = BATCH * SIDE * SIDE
    for layer, weights in (("stem", 3 * 4), ("first", 4 * 4 * 9), ("second", 4 * 4 * 9)):
        for kind in ("Conv2D", "Conv2DBackpropFilter"):
            assert rows[kind, layer]["count"] == 1
            assert rows[kind, layer]["flops"] == 2 * pixels * weights
    assert rows["Conv2DBackpropInput", "second"]["flops"] == 2 * pixels * 4 * 4 * 9
    assert ("Conv2DBackpropInput", "stem") not in rows
    assert rows["Conv2D", "first"]["gflops"] == pytest.approx(
        rows["Conv2D", "first"]["flops"] / rows["Conv2D", "first"]["ms"] / 1e6
    )
    for kind in {row["kind"] for row in made["kernels"]}:
        kernels, types = (
            [row["steps_ms"] for row in made[table] if row["kind"] == kind] for table in ("kernels", "types")
        )
        np.testing.assert_allclose(np.sum(types, axis=0), np.sum(kernels, axis=0), rtol=1e-6)


def test_steps_side_by_side_have_median_and_spread(made):
    for row in made["kernels"]:
        assert len(row["steps_ms"]) == STEPS
        assert row["ms"] == pytest.approx(float(np.median(row["steps_ms"])))
        low, high = np.percentile(row["steps_ms"], [25, 75])
        assert row["spread_ms"] == pytest.approx(high - low)
    assert sum(row["share"] for row in made["kernels"]) == pytest.approx(1)
    assert made["step_ms"]["median"] == pytest.approx(float(np.median([row["ms"] for row in made["steps"]])))


def test_after_the_block_the_step_is_what_it_was(programs):
    step, _ = programs
    assert type(step) is TrainOneStep and "_run" not in step.__dict__ and "__call__" not in step.__dict__
    images, labels = images_and_labels(BATCH, size=SIDE)
    with Clock() as clock:
        step(images, labels, lr=0.0)
        assert not shim_available() or len(clock.take())
    step(images, labels, lr=0.0)
    with Clock() as clock:
        assert len(clock.take()) == 0  # what ran while it was off left nothing


def test_an_exception_inside_leaves_nothing_behind(stock):
    step, _ = stock
    with pytest.raises(KeyError), profile(step) as recorder:
        step(*images_and_labels(BATCH, size=SIDE), lr=0.0)
        raise KeyError
    assert type(step) is TrainOneStep and len(recorder.record.steps) == 1


def test_spans_and_steps_of_the_caller(stock):
    step, _ = stock
    with profile(step, steps=2, kernels=False) as recorder:
        for images, labels in recorder.watch(endless(pause=0.01)):
            step(images, labels, lr=0.0)
            with recorder.span("checkpoint"):
                time.sleep(0.001)
            if recorder.finished:
                break
    assert [span.name for span in recorder.record.spans].count("checkpoint") == 2
    assert all(step.wait >= 9e6 for step in recorder.record.steps)
    with pytest.raises(ValueError, match="steps = 0"):
        profile(step, steps=0)


def test_a_slow_source_and_changing_shapes_are_found(stock):
    step, _ = stock  # batches are made in this process: there are no workers that could take the cores
    slow = endless(pause=0.03)
    runs = profiling.measure_runs(step, slow, 0.01, steps=4, skip=1)
    found = profiling.judge(profiling.measurements(runs, step, worker_ms=0.0))
    assert found.bound == "data" and found.gain > 1.5, found
    shapes = (batch for size in range(2, 30) for batch in [next(endless(size))])
    runs = profiling.measure_runs(step, shapes, 0.01, steps=2, skip=1)
    found = profiling.judge(profiling.measurements(runs, step, worker_ms=0.0))
    assert found.bound == "compilation" and "2 recompilations in 2 steps" in found.text, found
    same = profiling.measure_runs(step, endless(), 0.01, steps=4, skip=2)
    found = profiling.judge(profiling.measurements(same, step, worker_ms=0.0))
    assert found.bound == "compute" and "No recompilation" in found.text, found


def test_accumulated_steps_are_one_update():
    step = step_of(Doubled(), accumulate=2)
    record = profiling.run_steps(step, endless(), 0.01, 2, skip=1, kernels=True).record
    assert [s.images for s in record.steps] == [2 * BATCH] * 2
    assert all(len(s.graphs) == 3 for s in record.steps)  # two micro-batches and the update
    made = profiling.build_profile([record])
    assert next(row for row in made["kernels"] if (row["kind"], row["layer"]) == ("Conv2D", "first"))["count"] == 2


@needs_shim
@pytest.mark.parametrize(
    "optimizer, kernel, moved", [(Momentum, MomentumStep, 20), (AdamW, AdamWStep, 28)], ids=["momentum", "adamw"]
)
def test_an_update_by_one_node_moves_the_bytes_of_its_optimizer(optimizer, kernel, moved, request):
    """Momentum reads three float32 of a parameter's number and writes two, AdamW reads four and writes three."""
    network = Line()
    step = TrainOneStep(forward=squares(network), optimizer=optimizer(network.trainable_params(), kernel=kernel))
    with profile(step, steps=1, skip=1) as recorder:
        for _ in range(2):
            step(np.ones((6, 4), np.float32), np.zeros((6, 1), np.float32), lr=0.01)
    name = request.node.callspec.id
    (update,) = [each for each in recorder.record.steps[0].executions if each.kind == name]
    assert update.phase == "update" and update.bytes == moved * sum(p.size for p in network.trainable_params())


def test_a_step_of_any_forward_function_has_a_profile():
    network = Line()
    step = TrainOneStep(forward=squares(network), optimizer=Momentum(network.trainable_params()), network=network)
    x, target = np.ones((6, 4), np.float32), np.zeros((6, 1), np.float32)
    with profile(step, steps=2, skip=1) as recorder:
        for _ in range(3):
            step(x, target, lr=0.01)
    assert [made.images for made in recorder.record.steps] == [6, 6]
    assert any(execution.phase == "backward" for execution in recorder.record.steps[0].executions)


def test_scopes_tell_layer_and_phase():
    back = (
        "Gradients/Default/gradients-Gradients/network-Net/layer1-SequentialCell/0-Block/conv-Conv2d/Grad_Conv2D/X-op0"
    )
    assert layer_of(back) == "layer1.0.conv" and phase_of(back, "Conv2DBackpropInput") == "backward"
    assert phase_of("Default/update-Update/optimizer-Momentum/ApplyMomentum-op3", "ApplyMomentum") == "update"
    assert layer_of("Default/gradients-Gradients/loss-SoftmaxCrossEntropy/Exp-op0") == "loss"
    assert phase_of("Default/AllReduce-op0", "AllReduce") == "allreduce"


def test_peaks_are_positive():
    peaks = profiling.measure_peaks(1, seconds=0.02)
    assert peaks["gflops"] >= peaks["matmul_gflops"] > 0 and peaks["gbytes"] > 0
