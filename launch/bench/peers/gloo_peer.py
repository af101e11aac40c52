"""A rank that sums with gloo, for launch.bench hosts: run as a file, by an interpreter that has torch.

    python gloo_peer.py JOB, where JOB is JSON: rank, size, store (address:port of the first rank), device (network)

For each number that a line of its input holds it sums a tensor of so many float32 with the others, and answers with
a line when it has the sum. It waits asleep.
"""

import json
import os
import sys

import torch
from torch import distributed


def main(job):
    os.environ["GLOO_SOCKET_IFNAME"] = job["device"]
    torch.set_num_threads(1)
    store = f"tcp://{job['store']}"
    distributed.init_process_group("gloo", init_method=store, rank=job["rank"], world_size=job["size"])
    tensor = torch.empty(0)
    for line in sys.stdin:
        numbers = int(line)
        if len(tensor) != numbers:
            tensor = torch.full((numbers,), float(job["rank"] + 1))
        else:
            distributed.all_reduce(tensor)
        print("done", flush=True)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
