"""launch.train with an exception on rank 1 in its third step."""

import sys

from cellwright.engine import TrainOneStep
from cellwright.launch import train


def fail_on_rank_1(call=TrainOneStep.__call__):
    def step(self, *arguments, **options):
        self.calls = getattr(self, "calls", 0) + 1
        from mpi4py import MPI

        if MPI.COMM_WORLD.Get_rank() == 1 and self.calls == 3:
            raise RuntimeError("rank 1 has had enough")
        return call(self, *arguments, **options)

    TrainOneStep.__call__ = step


fail_on_rank_1()
sys.exit(train.main())
