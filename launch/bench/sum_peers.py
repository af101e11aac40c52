"""Libraries that sum beside the ranks of launch.bench hosts: a process each beside every rank, which sleeps while it is
not its turn."""

import contextlib
import json
import os
import socket
import subprocess
from pathlib import Path

from cellwright.launch.host.mpi_world import host_address

GLOO, ONECCL = "gloo", "oneCCL"
FLAGS = {"torch": GLOO, "oneccl": ONECCL}  # the setting that names the interpreter of each
_SCRIPTS = {GLOO: "gloo_peer.py", ONECCL: "oneccl_peer.py"}


@contextlib.contextmanager
def sum_peers(world, interpreters):
    """Context manager: starts this rank's processes and yields {library: a function of how many numbers to sum}.

    world: a mpi_world.World. interpreters: {library: Python interpreter, None for without}. Collective; RuntimeError
    where a library fails.
    """
    with contextlib.ExitStack() as stack:
        wanted = {name: interpreter for name, interpreter in interpreters.items() if interpreter}
        yield {name: stack.enter_context(_started(world, name, interpreter)) for name, interpreter in wanted.items()}


@contextlib.contextmanager
def _started(world, name, interpreter):
    job = {"rank": world.rank, "size": world.size, "local_rank": world.local_rank, "local_size": world.local_size}
    job["address"] = host_address()
    job["device"] = next(device for _, device in socket.if_nameindex() if device != "lo")
    line = [interpreter, str(Path(__file__).parent / "peers" / _SCRIPTS[name]), json.dumps(job)]
    # What waits for a rank that is gone reads no input: it ends with this process.
    line = ["setpriv", "--pdeathsig", "KILL", *line]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(line, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def tell(line):
            process.stdin.write(line)
            process.stdin.flush()

        def answer():
            found = process.stdout.readline()
            if not found:
                raise RuntimeError(f"{name} failed, rank {world.rank}")
            return found

        def turn(numbers):
            tell(f"{numbers}\n")
            answer()

        try:
            way_to_the_first = world.broadcast_object(answer() if world.rank == 0 else None)
            if world.rank:
                tell(way_to_the_first)
            yield turn
        finally:
            process.stdin.close()
