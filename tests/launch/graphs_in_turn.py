"""Run by test_graphs_in_turn.py: `mpirun -n N python graphs_in_turn.py FOLDER [die] [shard]`.

Trains a network with dropout for three steps and evaluates it, in turn with the other ranks and then once more, each
rank by itself; writes what came out to FOLDER/<rank>.json. die: the first rank is killed where it compiles. shard: the
ranks share the update.
"""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np

from cellwright.launch.host.job import Job
from cellwright.launch.host.mpi_world import open_world
from cellwright.launch.host.rank_log import RankLog
from cellwright.launch.host.runtime import quiet_environment, without_compile_cache
from cellwright.launch.settings.resolve import read_settings


def dying(job):
    """What compiles within the turn of this context manager never does on the first rank."""

    @contextlib.contextmanager
    def in_turn():
        with job.in_turn():
            if job.world.rank == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            yield

    return in_turn


def train(job, in_turn, shared):
    """Returns the losses, the dropouts' words of each step, and the counts of an evaluation."""
    from mindspore import Tensor, nn

    from cellwright.engine import Evaluator, Momentum, SoftmaxCrossEntropy, TrainOneStep
    from cellwright.kernels.nodes import MomentumStep

    class Net(nn.Cell):
        def __init__(self):
            super().__init__()
            self.flat, self.dropout = nn.Flatten(), nn.Dropout(p=0.5)
            self.first, self.second = nn.Dense(48, 32), nn.Dense(32, 10)

        def construct(self, x):
            return self.second(self.dropout(self.first(self.flat(x))))

    random = np.random.default_rng(0)  # the same weights and images on all ranks: their masks alone differ
    net, loss = Net(), SoftmaxCrossEntropy(10, 0.0)
    for parameter in net.get_parameters():
        parameter.set_data(Tensor(random.normal(size=parameter.shape).astype(np.float32)))
    allreduce = job.graph_allreduce()
    options = {"kernel": MomentumStep, "shard": allreduce.group} if shared else {}
    optimizer = Momentum(net.trainable_params(), 0.9, **options)
    step = TrainOneStep(net, loss, optimizer, allreduce=allreduce, seed=job.world.rank)
    step.compile_in(in_turn)
    images, labels = random.normal(size=(8, 3, 4, 4)).astype(np.float32), np.arange(8, dtype=np.int32)
    losses, words = [], []
    for _ in range(3):
        losses.append(step(images, labels, lr=0.1).loss.hex())
        words.append(step.dropouts[0].draws.asnumpy().tolist())
    mine = [(images, labels, np.ones(8, np.float32))] if job.world.rank != 1 else []  # this one has no batch
    return losses, words, Evaluator(net, loss, world=job.world, in_turn=in_turn)(mine).numbers()


def main(folder, *flags):
    world = open_world()
    quiet_environment(1)
    resolved = read_settings(["--net", "tinydarknet", "--eval_interval", "0"], "test")[0]
    job = Job(world, RankLog(world.rank))
    job.start_device(resolved.run)
    job.use_compile_cache(resolved, "test", None)
    together = train(job, dying(job) if "die" in flags else job.in_turn, "shard" in flags)
    with without_compile_cache():
        alone = train(job, contextlib.nullcontext, "shard" in flags)
    Path(folder, f"{world.rank}.json").write_text(json.dumps([together, alone]))


if __name__ == "__main__":
    main(*sys.argv[1:])
