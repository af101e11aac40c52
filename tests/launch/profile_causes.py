"""One rank of a job whose steps are slow for a known reason; rank 0 prints what the verdict says of each."""

import ctypes
import json
import time

from cellwright.launch.host.mpi_world import open_world
from cellwright.launch.host.runtime import quiet_environment, start_mindspore

# The order matters: MPI before MindSpore, the environment before both.
world = open_world()
quiet_environment(1)
import numba  # noqa: E402

from cellwright.kernels.nodes import Allreduce  # noqa: E402

usleep = ctypes.CDLL(None).usleep
usleep.argtypes = [ctypes.c_uint]
LATENCY_US = 3000


class SlowLink(Allreduce):
    """An allreduce over MPI whose every message takes some milliseconds."""

    def __init__(self, comm):
        super().__init__(comm.Get_size(), comm.Get_rank())
        from mpi4py import MPI

        from cellwright.kernels.nodes import allreduce as module
        from cellwright.kernels.nodes.custom_op import custom_op

        send = numba.njit(module._kernel(*(MPI._handleof(what) for what in (comm, MPI.FLOAT, MPI.SUM))))

        def slow_allreduce(nparam, params, ndims, shapes, dtypes, stream, extra):
            usleep(LATENCY_US)
            return send(nparam, params, ndims, shapes, dtypes, stream, extra)

        self.send = custom_op(slow_allreduce, module._same, module._float32)

    def construct(self, tensor):
        return self.send(tensor)


def main():
    start_mindspore("CPU", 0, 1, seed=1)
    from small_net import NORMALISE, ConvNet, images_and_labels

    from cellwright.engine import Momentum, SoftmaxCrossEntropy, TrainOneStep, profiling
    from cellwright.kernels.nodes import MomentumStep, silence

    class SlowRank(TrainOneStep):
        def _run(self, *arguments):
            time.sleep(0.04 * world.rank)
            return super()._run(*arguments)

    def endless():
        images, labels = images_and_labels(8)
        while True:
            yield images, labels

    def judge(kind, allreduce, quiet, shared=False, **settings):
        network = ConvNet()
        sharing = {"kernel": MomentumStep, "shard": allreduce.group} if shared else {}
        optimizer = Momentum(network.trainable_params(), 0.9, **sharing)
        step = kind(network, SoftmaxCrossEntropy(10), optimizer, normalise=NORMALISE, allreduce=allreduce, **settings)
        runs = profiling.measure_runs(step, endless(), 0.01, steps=5, skip=2, silence=quiet, barrier=world.barrier)
        found = profiling.judge(profiling.measurements(runs, step, gather=world.allgather_object, cores=(world.rank,)))
        return {
            "bound": found.bound,
            "flag": found.flag,
            "straggler": found.straggler,
            "exposed": found.exposed_ms,
            "text": found.text,
            "gain": found.gain,
            "nodes": sum(e.phase == "allreduce" for s in runs.profiled.steps for e in s.executions) / 5,
        }

    link = SlowLink(world.comm)
    found = {
        "slow rank": judge(SlowRank, world.graph_allreduce(), silence),
        "slow rank, shared update": judge(SlowRank, world.graph_allreduce(), silence, shared=True),
        "tiny buckets": judge(TrainOneStep, link, None, bucket_bytes=64),
        "one bucket": judge(TrainOneStep, link, None),
    }
    if world.rank == 0:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
