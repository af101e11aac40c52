"""One of the loaders here, in a process of its own, measured in rounds.

Run by an interpreter that has that loader; it need not have anything of this project:

    python launch/bench/peers/loaders/run.py --peer dali --seconds 1.5 --folder DIR --output float32

Each line on stdin is a round: after --warm_up images that do not count it prints {}, then {"images", "seconds"} of
those that do. It ends with stdin.
"""

import argparse
import importlib
import json
import sys
import time

from work import Work


def round_of(stream, seconds, warm_up):
    """Returns what was counted over at least `seconds`."""
    while warm_up > 0:
        warm_up -= len(next(stream))
    print("{}", flush=True)
    images, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        images += len(next(stream))
    return {"images": images, "seconds": time.perf_counter() - began}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("peer", "folder", "output"):
        parser.add_argument(f"--{name}", required=True)
    for name, default in (("workers", 2), ("batch", 64), ("warm_up", 400)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--jitter", action="store_true")
    given = vars(parser.parse_args())
    peer, seconds, warm_up = (given.pop(name) for name in ("peer", "seconds", "warm_up"))
    stream = importlib.import_module(f"{peer}_peer").batches(Work(**given))
    for _ in sys.stdin:
        print(json.dumps(round_of(stream, seconds, warm_up)), flush=True)


if __name__ == "__main__":
    main()
