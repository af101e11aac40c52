"""Run by test_ranks.py under mpirun: `python ranks.py FOLDER SCENARIO[:ARGUMENT...] ...` runs scenarios in turn; rank 0
writes FOLDER/result.json.
"""

import json
import sys
import zlib
from pathlib import Path

import mindspore as ms
import numpy as np
from factored_scenario import factored  # noqa: F401, a scenario by its name
from mindspore import ops
from mpi4py import MPI
from safetensors.numpy import load_file
from shard_scenario import shard  # noqa: F401, a scenario by its name
from small_net import NORMALISE, ConvNet, SmallNet, batches, images_and_labels

from cellwright.engine import (
    Checkpoints,
    Evaluator,
    LossScale,
    Momentum,
    Position,
    SoftmaxCrossEntropy,
    Trainer,
    TrainOneStep,
    synchronise_batch_norm,
)
from cellwright.engine.step.forward import ImageForward
from cellwright.kernels.compiler import accelerate
from cellwright.kernels.nodes import Allreduce, MpiAllreduce
from cellwright.launch.host.mpi_world import World

LOSS = SoftmaxCrossEntropy(10, 0.1)


def digest(step):
    """A number for all weights and optimizer state, different if a bit is."""
    held = [*step.network.get_parameters(), *step.state_parameters()]
    return zlib.crc32(b"".join(p.asnumpy().tobytes() for p in held))


class Flat(Allreduce):
    """An allreduce that takes one flat tensor at a time."""

    def __init__(self, allreduce):
        super().__init__(allreduce.size, allreduce.rank)
        self.allreduce = allreduce

    def construct(self, x):
        return self.allreduce(x)


def make_step(world, net=None, form="", **settings):
    net = net or SmallNet(norm=settings.pop("norm", True))
    allreduce = MpiAllreduce(world.comm) if world.size > 1 else None
    allreduce = Flat(allreduce) if form == "flat" and allreduce else allreduce
    optimizer = Momentum(net.trainable_params(), 0.9, 1e-3)
    if form == "forward":  # what the network and its loss compute, as a function of a batch without weights
        images = ImageForward(net, LOSS, NORMALISE)

        def forward(batch):
            return images(batch["images"], batch["labels"], ops.ones_like(batch["labels"]).astype(ms.float32))

        return TrainOneStep(forward=forward, network=net, optimizer=optimizer, allreduce=allreduce, **settings)
    return TrainOneStep(net, LOSS, optimizer, normalise=NORMALISE, allreduce=allreduce, **settings)


def overflow_on_one(world, folder):
    """Three steps, the middle one with an infinite loss on rank 1 alone."""
    step = make_step(world, loss_scale=LossScale.dynamic(init=1024), bucket_bytes=64)
    images, labels = images_and_labels(8, seed=world.rank)
    reports = []
    for number in range(3):
        weights = np.full(8, np.inf if number == 1 and world.rank == 1 else 1.0, np.float32)
        before = {p.name: p.asnumpy().copy() for p in [*step.network.get_parameters(), *step.optimizer.moments]}
        report = step(images, labels, weights, lr=0.1)
        unmoved = all(
            np.array_equal(before[p.name], p.asnumpy())
            for p in [*step.network.get_parameters(), *step.optimizer.moments]
        )
        reports.append([report.finite, report.loss_scale, unmoved])
    weights = [p.asnumpy().tobytes() for p in step.network.trainable_params()]
    return {
        "reports": reports,
        "scale": float(step.update.scale.value.asnumpy()),
        "weights": zlib.crc32(b"".join(weights)),
    }


def share(world, folder, *forms):
    """What `share_in` finds in the given forms."""
    return {form: share_in(world, form) for form in forms}


def share_in(world, form):
    """Five steps of a network without BatchNorm, the same 12 images per step dealt to the ranks; returns the
    weights. form: "forward", by a function of a batch; "flat", by an allreduce of one tensor at a time; or "usual".
    """
    step = make_step(world, norm=False, bucket_bytes=200, form=form)
    for number in range(5):
        images, labels = images_and_labels(12, seed=number)
        dealt = np.minimum(np.arange(12) % (world.size + 1), world.size - 1)  # the last rank has twice as many
        mine = dealt == world.rank
        batch = (images[mine], labels[mine])
        batch = ({"images": batch[0], "labels": batch[1]},) if form == "forward" else batch
        report = step(*batch, lr=0.1, vote=world.rank)
    return {
        "weights": np.concatenate([p.asnumpy().ravel() for p in step.network.get_parameters()]).tolist(),
        "loss": report.loss,
        "votes": report.votes,
    }


class Alone(Allreduce):
    """The sum over one rank."""

    def construct(self, x):
        return x


def share_statistics(world, folder, stock=""):
    """Four steps with BatchNorm over all ranks, the same 12 images per step dealt to them; weights and statistics."""
    net = SmallNet()
    if not stock:
        synchronise_batch_norm(net, MpiAllreduce(world.comm) if world.size > 1 else Alone(1))
    step = make_step(world, net, bucket_bytes=200, reduce_after_backward=True, loss_scale=LossScale.fixed(1024))
    for number in range(4):
        images, labels = images_and_labels(12, seed=number)
        step(images[world.rank :: world.size], labels[world.rank :: world.size], lr=0.1)
    step.graph.set_train(False)
    return {"weights": np.concatenate([p.asnumpy().ravel() for p in net.get_parameters()]).tolist()}


def evaluate(world, folder):
    """Counts over 53 images, this rank's share padded."""
    images, labels = images_and_labels(53)
    mine = np.arange(world.rank, 53, world.size)
    shares = []
    for start in range(0, len(mine), 6):
        ids = mine[start : start + 6]
        padded = np.concatenate([ids, np.zeros(6 - len(ids), int)])
        shares.append((images[padded], labels[padded], (np.arange(6) < len(ids)).astype(np.float32)))
    result = Evaluator(SmallNet(), LOSS, normalise=NORMALISE, world=world)(shares)
    return {"counts": [result.top1_correct, result.top5_correct, result.total], "loss": result.loss}


class Share:
    """This rank's batches of an epoch, like a loader; raises at a chosen batch."""

    def __init__(self, world, stop_at=None):
        self.world, self.stop_at = world, stop_at

    def __len__(self):
        return 4

    def epoch(self, number, start=0):
        for index, batch in enumerate(batches(4, 8, seed=100 * number + self.world.rank)):
            if (number, index) == self.stop_at:
                raise KeyboardInterrupt
            if index >= start:
                yield batch


def resume(world, folder):
    """Two epochs straight, and with a stop in the middle: digests of every rank's whole state."""

    def make(name, stop_at=None):
        step = make_step(world, loss_scale=LossScale.dynamic(window=3), ema=0.9)
        checkpoints = Checkpoints(folder / name, recipe={"net": "small"}, world=world)
        evaluation = {
            "evaluator": Evaluator(step.network, LOSS, normalise=NORMALISE, world=world),
            "eval_batches": batches(1, 8),
        }
        return Trainer(
            step,
            Share(world, stop_at),
            np.full(8, 0.1),
            epochs=2,
            world=world,
            checkpoints=checkpoints,
            **evaluation,
        )

    straight = make("straight")
    straight.run()
    stopped = make("stopped", (1, 2))
    try:
        stopped.run()
    except KeyboardInterrupt:
        stopped.save()
    resumed = make("stopped")
    start = resumed.checkpoints.restore(resumed.step)
    resumed.run(start)
    pairs = (start, digest(straight.step), digest(resumed.step), straight.evaluation == resumed.evaluation)
    everyone = world.comm.allgather(pairs)
    rows = np.array([[a == b, evaluated] for _, a, b, evaluated in everyone])
    local = len({pair[1] for pair in everyone})  # each rank has its own BatchNorm statistics
    return {"start": [start.epoch, start.batch], "equal": bool(rows.all()), "different_ranks": local}


def overlap(world, folder):
    """Six steps of a network that programs run, between pretended hosts: sums after the backward, and by turns during
    it, with a checkpoint there from which the first step goes on in its own way.
    """
    host = world.comm.Split(world.rank // 2 if world.size > 2 else world.rank, world.rank)
    checkpoints = Checkpoints(folder / "checkpoints", recipe={}, world=world)

    def make():
        network = accelerate(ConvNet())
        allreduce = MpiAllreduce(world.comm, overlap=True, host=host)
        optimizer = Momentum(network.trainable_params(), 0.9, 1e-3)
        return TrainOneStep(network, LOSS, optimizer, normalise=NORMALISE, allreduce=allreduce, bucket_bytes=2000)

    def train(step, way, first=0):
        during, group = "", step.update.reduce.allreduce.group  # the thread has a group of its own
        for number, on in enumerate(way, first):
            step.set_overlap(on == "1")
            before = group.moved().read
            step(*images_and_labels(8, seed=10 * number + world.rank), lr=0.1)
            during += str(int(group.moved().read == before))
            if during == "001":
                checkpoints.save(step, Position(0, 3))
        return {"digest": digest(step), "during": during, "compiled": [each.changed for each in step.compilations]}

    after, turns = make(), make()
    found = {"after": train(after, "000000"), "turns": train(turns, "001100")}
    checkpoints.restore(after)
    found["resumed"] = train(after, "000", first=3)
    alike = [len(set(world.comm.allgather(one.asnumpy().tobytes()))) for one in turns.network.trainable_params()]
    return {"found": found, "weights": alike}


def wire(world, folder):
    """Six steps whose gradients travel as bfloat16 between pretended hosts: straight, resumed, and resumed with what
    was rounded off lost; then what is kept on other hosts than it was made on.
    """
    checkpoints = Checkpoints(folder / "checkpoints", recipe={}, world=world)

    def make(host, dtype="bfloat16"):
        net = SmallNet()
        allreduce = MpiAllreduce(world.comm, host=world.comm.Split(host, world.rank), wire_dtype=dtype)
        optimizer = Momentum(net.trainable_params(), 0.9)
        return TrainOneStep(net, LOSS, optimizer, normalise=NORMALISE, allreduce=allreduce, bucket_bytes=500)

    def train(step, numbers):
        for number in numbers:
            report = step(*images_and_labels(8, seed=10 * number + world.rank), lr=0.1, vote=257)
            if number == 2:
                checkpoints.save(step, Position(0, 3))
        world.barrier()
        carried = step.update.reduce.allreduce.carried
        return [digest(step), zlib.crc32(carried.tobytes()) if carried is not None else 0, report.votes]

    def weights(step):
        return np.concatenate([one.asnumpy().ravel() for one in step.network.trainable_params()])

    host = world.rank // 2 if world.size > 2 else world.rank
    exact, straight, other = make(host, "float32"), make(host), make(host)
    began = weights(exact)
    found = {"float32": train(exact, range(6)), "straight": train(straight, range(6))}
    error = float(np.abs(weights(straight) - weights(exact)).max() / np.abs(weights(exact) - began).max())
    for name in ("resumed", "forgetful"):
        checkpoints.restore(other)
        if name == "forgetful" and other.update.reduce.allreduce.first:
            other.update.reduce.allreduce.carried[:] = 0
        world.barrier()
        found[name] = train(other, range(3, 6))
    alike = [len(set(world.comm.allgather(one.asnumpy().tobytes()))) for one in straight.network.trainable_params()]
    return {
        "found": found,
        "error": error,
        "weights": alike,
        "others": _on_other_hosts(world, checkpoints, make(world.rank)),
    }


def _on_other_hosts(world, checkpoints, alone):
    """Whether what is kept comes back in a step where each rank is a host: its own, or of fewer hosts the sum."""
    checkpoints.restore(alone)
    allreduce = alone.update.reduce.allreduce
    rows = load_file(checkpoints.latest() / "state.safetensors")["carried_per_host"]
    own = len(rows) != world.size or np.array_equal(rows[allreduce.host], allreduce.carried)
    return bool(own and rows.any() and np.array_equal(world.allreduce(allreduce.carried), rows.sum(0)))


def main():
    ms.set_context(mode=ms.GRAPH_MODE)
    world = World(MPI.COMM_WORLD)
    folder, results = Path(sys.argv[1]), {}
    for scenario in sys.argv[2:]:
        name, *arguments = scenario.split(":")
        (folder / name).mkdir(exist_ok=True)
        results[scenario] = globals()[name](world, folder / name, *arguments)
    everyone = world.comm.gather(results)
    if world.rank == 0:
        (folder / "result.json").write_text(json.dumps(everyone))


if __name__ == "__main__":
    main()
