"""Which hosts of a job are still there: a datagram a second among them, so that a hang can name the missing one."""

import contextlib
import socket
import threading
import time

from cellwright.launch.host.mpi_world import host_address

_MARK = b"cellwright "


class Heartbeat:
    """Tells `silent(seconds)`, the hosts that were heard and then no more. Collective to make.

    The first rank of each host sends to the first ranks of the others and listens; on the other ranks, and on one host,
    nothing is sent and nobody is silent. A host that is never heard (a firewall) is not counted as silent.
    world: a World. every: seconds between datagrams.
    """

    def __init__(self, world, every=1.0):
        self._every, self._heard, self._names = every, {}, {}
        self._closed, self._socket = threading.Event(), None
        own = None
        if world.local_rank == 0 and world.local_size < world.size:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.bind(("", 0))
            self._socket.settimeout(every / 4)
            own = (host_address(), self._socket.getsockname()[1], socket.gethostname())
        told = world.allgather_object(own)
        self._others = [each for rank, each in enumerate(told) if each and rank != world.rank]
        if self._socket is None:
            return
        self._number = b"%d" % world.rank
        self._names = {b"%d" % rank: f"{each[2]} ({each[0]})" for rank, each in enumerate(told) if each}
        for work in (self._send, self._listen):
            threading.Thread(target=work, name="heartbeat", daemon=True).start()

    def silent(self, seconds):
        """Returns {host and address: seconds since it was heard} of those that are silent for so long."""
        now = time.monotonic()
        return {self._names[host]: now - then for host, then in self._heard.items() if now - then > seconds}

    def close(self):
        """Ends it."""
        self._closed.set()

    def _send(self):
        while not self._closed.wait(self._every):
            for address, port, _ in self._others:
                with contextlib.suppress(OSError):
                    self._socket.sendto(_MARK + self._number, (address, port))

    def _listen(self):
        while not self._closed.is_set():
            with contextlib.suppress(OSError):
                data = self._socket.recv(64)
                if data.startswith(_MARK) and data[len(_MARK) :] in self._names:
                    self._heard[data[len(_MARK) :]] = time.monotonic()
        self._socket.close()
