"""A rank that sums with gloo, for launch.bench hosts: run as a file, by an interpreter that has torch.

python gloo_peer.py JOB, see sum_turns.py
"""

import json
import os
import sys

import torch
from sum_turns import Turns
from torch import distributed

_PORT = 29473  # a host that is a network namespace has all ports to itself


def main(job):
    os.environ["GLOO_SOCKET_IFNAME"] = job["device"]
    torch.set_num_threads(1)
    turns = Turns(job["rank"], job["size"])
    store = turns.share(f"tcp://{job['address']}:{_PORT}")
    distributed.init_process_group("gloo", init_method=store, rank=job["rank"], world_size=job["size"])

    def add_up(tensor):
        distributed.all_reduce(tensor)
        return tensor

    turns.take(lambda count, value: torch.full((count,), value), add_up)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
