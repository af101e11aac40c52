"""A scenario of ranks.py: the update shared by the ranks of a host, beside the same steps without."""

import zlib

import numpy as np
from safetensors.numpy import load_file
from small_net import NORMALISE, SmallNet, images_and_labels

from cellwright.engine import (
    AdamW,
    Checkpoints,
    LossScale,
    Momentum,
    ParameterGroup,
    Position,
    SoftmaxCrossEntropy,
    TrainOneStep,
    profile,
)
from cellwright.engine.step.shard_state import own_rows, whole_state
from cellwright.kernels.nodes import AdamWStep, MomentumStep, MpiAllreduce

CASES = {
    "momentum": dict(loss_scale=LossScale.dynamic(init=1024, window=2), clip_norm=0.5, ema=0.9),
    "adamw": dict(accumulate=2, ema=0.9),
}
GROUPS = (ParameterGroup("conv.*", lr_factor=0.5), ParameterGroup("norm.*", weight_decay=0.01))


def make(world, case, shared):
    net, host = SmallNet(), world.comm.Split(world.rank // 2, world.rank)
    # Those that share the update sum early gradients while later ones are computed, where there are several hosts.
    allreduce = MpiAllreduce(world.comm, host=host, overlap=shared)
    options = {"shard": allreduce.group if shared else None, "groups": GROUPS}
    if case == "momentum":
        optimizer = Momentum(net.trainable_params(), 0.9, 1e-3, nesterov=True, kernel=MomentumStep, **options)
    else:
        optimizer = AdamW(net.trainable_params(), kernel=AdamWStep, **options)
    loss = SoftmaxCrossEntropy(10, 0.1)
    about = dict(normalise=NORMALISE, allreduce=allreduce, bucket_bytes=500, **CASES[case])
    return TrainOneStep(net, loss, optimizer, **about)


def train(world, step, first):
    """Four batches, in one of which a rank's loss is infinite where that is dropped: reports and what a rank holds."""
    reports = []
    for number in range(first, first + 4):
        images, labels = images_and_labels(8, seed=10 * number + world.rank)
        overflow = step.update.drop and number == 1 and world.rank == 1
        report = step(images, labels, np.full(8, np.inf if overflow else 1.0, np.float32), lr=0.1)
        reports += [(report.loss, report.finite)] if report else []
    held = [*step.network.get_parameters(), *step.state_parameters()]
    held = [p.asnumpy().tobytes() for p in held if not p.name.startswith(("moments", "squares"))]
    return repr(reports), zlib.crc32(b"".join(held))


def state_of(checkpoints):
    """A number for all state of a checkpoint, different if a bit is."""
    state = load_file(checkpoints.latest() / "state.safetensors")
    return zlib.crc32(b"".join(name.encode() + state[name].tobytes() for name in sorted(state)))


def shard(world, folder, *cases):
    """The steps shared and not; then both go on, and new ones from the other's checkpoint. What came out, by case."""
    found = {}
    for case in cases:
        steps = [make(world, case, shared) for shared in (True, False)]
        kept = [Checkpoints(folder / f"{case}-{name}", recipe={}, world=world) for name in ("shared", "alone")]
        begun = [train(world, step, 0) for step in steps]
        for checkpoints, step in zip(kept, steps):
            checkpoints.save(step, Position(1))
        crossed = [make(world, case, shared) for shared in (True, False)]
        for step, checkpoints in zip(crossed, reversed(kept)):
            checkpoints.restore(step)
        found[case] = {
            "begun": begun,
            "states": [state_of(checkpoints) for checkpoints in kept],
            "went_on": [train(world, step, 4) for step in (*steps, *crossed)],
            "held": [sum(p.size for p in step.optimizer.moments) for step in steps],
            "dump": dumped(steps[0]),
            "update_nodes": update_nodes(world, steps[0]),
            "overlaps": [step.update.reduce.overlaps for step in steps],
            "sums_in_update": [step.update.sums_in_update for step in steps],
        }
    return found


def update_nodes(world, step):
    """What a profile says that the update of a step runs, beside stock operators."""
    with profile(step, steps=1, skip=1) as recorder:
        train(world, step, 8)
    return sorted({run.kind for run in recorder.record.steps[0].executions if run.source == "node"} - {"allreduce"})


def dumped(step):
    """Whether a crash dump's moments are those of this rank, by the parameters' names, and zero elsewhere."""
    state, shard = whole_state(step, own_rows(step.optimizer)), step.optimizer.shard
    row = np.concatenate([state[f"moments.{name}"].ravel() for name in shard.shapes])
    own = shard.part(step.optimizer.sharded["moments"])
    others = np.delete(row, slice(shard.begin, shard.end))
    return bool(np.array_equal(row[shard.begin : shard.end], own) and own.any() and not others.any())
