"""Run by test_checkpoint.py: saves checkpoints of a small network without end, one after another, until it is killed.

`python saver.py FOLDER COUNT SEED`: forks COUNT children one by one and kills each with SIGKILL at a random moment;
after each kill it checks that the newest checkpoint is whole. Prints the number of checkpoints seen.
"""

import os
import random
import signal
import sys
import tempfile
import time

from small_net import NORMALISE, SmallNet

from cellwright.engine import Checkpoints, Momentum, Position, SoftmaxCrossEntropy, TrainOneStep


def make_step():
    net = SmallNet(channels=64, classes=2000)
    return TrainOneStep(net, SoftmaxCrossEntropy(2000), Momentum(net.trainable_params(), 0.9), normalise=NORMALISE)


def save_without_end(folder):
    step = make_step()
    checkpoints = Checkpoints(folder, keep=2)
    last = checkpoints.latest()
    number = int(last.name[1:5]) if last else 0
    while True:
        number += 1
        checkpoints.save(step, Position(number, 0), metric=number % 7 / 7)


def seconds_of_a_save():
    """What a child needs on this machine to make its step and save it once."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(2):
            began = time.perf_counter()
            Checkpoints(folder).save(make_step(), Position(number, 0))
    return time.perf_counter() - began


def main():
    folder, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    moments = random.Random(seed)
    newest, unit = 0, seconds_of_a_save()
    for _ in range(count):
        child = os.fork()
        if child == 0:
            try:
                save_without_end(folder)
            except BaseException as error:
                print(f"child failed: {error!r}", flush=True)
            os._exit(1)
        time.sleep(unit * moments.uniform(0.2, 6))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit("a child ended by itself")
        checkpoints = Checkpoints(folder, keep=2)
        leftovers = [name for name in os.listdir(folder) if name.startswith(".")]
        if leftovers:
            sys.exit(f"left behind: {leftovers}")
        if len(checkpoints.paths()) > 4:
            sys.exit("old checkpoints pile up")
        if checkpoints.paths():
            position = checkpoints.restore(make_step())
            if position.epoch < newest:
                sys.exit(f"went back from {newest} to {position.epoch}")
            newest = position.epoch
    print(newest)


if __name__ == "__main__":
    main()
