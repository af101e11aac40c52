"""A link of a stated speed and delay between two network namespaces, in user space: two TUN devices and a process that
carries packets from one to the other.

As a program it is that process: delayed_link.py FIRST SECOND GBIT DELAY_US, the file descriptors of the two devices;
it ends when its input does. It imports nothing but the standard library, to run before the package can be found.

A packet may be many Ethernet frames that the kernel did not cut yet; it takes the time of all of them on the wire, then
the delay. While the wire is taken packets wait in the device's queue, which drops what finds it full, as a switch does.
"""

import collections
import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import time

FRAME, PAYLOAD = 1514, 1448  # bytes of a full Ethernet frame, and of the numbers in it
_HEADERS = 52  # bytes of IP and TCP before the numbers
_OFFLOAD = struct.Struct("=BBHHHH")  # virtio_net_hdr before a packet: of what frames it is, checksums still to make
_MOST = _OFFLOAD.size + 65535  # bytes of the largest
_AHEAD_S, _LATE_S = 1e-3, 2e-3  # how far the wire is filled ahead, and how late this process may be without a loss
# linux/if_tun.h; the kernel then hands over up to 64 KB of a TCP stream at a time, as it does to a network card.
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_IFF_TUN_WITH_OFFLOAD = 0x0001 | 0x1000 | 0x4000  # IFF_TUN, IFF_NO_PI, IFF_VNET_HDR
_CSUM_TSO4 = 0x01 | 0x02


@contextlib.contextmanager
def delayed_link(devices, gbit=None, delay_us=0):
    """Context manager: makes two TUN devices of these names, yields while packets move between them, and removes them.

    devices: two names; yielded with no address, in this namespace, from which `ip link set` may take them to others.
    gbit: Gbit/s each way; None: no limit. delay_us: microseconds one way. PermissionError where TUN cannot be used.
    """
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(_tun(name)) for name in devices]
        line = [sys.executable, "-I", __file__, *(str(file.fileno()) for file in opened), str(gbit or 0), str(delay_us)]
        relay = subprocess.Popen(line, stdin=subprocess.PIPE, pass_fds=[file.fileno() for file in opened])
        for file in opened:
            file.close()  # the devices are the relay's, and end with it
        try:
            yield
        finally:
            relay.stdin.close()
            relay.wait()


@contextlib.contextmanager
def _tun(name):
    try:
        file = open("/dev/net/tun", "r+b", buffering=0)
    except OSError as error:
        raise PermissionError(f"a link with a delay needs TUN devices: /dev/net/tun: {error.strerror}") from None
    with file:
        try:
            fcntl.ioctl(file, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_WITH_OFFLOAD))
            fcntl.ioctl(file, _TUNSETOFFLOAD, _CSUM_TSO4)
        except OSError as error:
            raise PermissionError(f"a link with a delay needs TUN devices: {name}: {error.strerror}") from None
        os.set_blocking(file.fileno(), False)
        yield file


class Way:
    """One way of a link: packets read from one device, written to the other when wire and delay have had their time.

    bytes_per_s: of the wire. delay: seconds after the last byte of a packet has left.
    """

    def __init__(self, source, target, bytes_per_s, delay):
        self.source, self.target, self.bytes_per_s, self.delay = source, target, bytes_per_s, delay
        self.travelling = collections.deque()  # (when it arrives, packet)
        self.free_at, self.drained = 0.0, True

    def take(self, now):
        """Reads what waits, as long as the wire is not full ahead of `now`."""
        while self.free_at <= now + _AHEAD_S:
            try:
                packet = os.read(self.source, _MOST)
            except BlockingIOError:
                self.drained = True
                return
            # What was there when the wire was given up came before now: its time began when the one before it ended.
            begin = max(self.free_at, now if self.drained else now - _LATE_S)
            self.drained = False
            self.free_at = begin + wire_bytes(len(packet) - _OFFLOAD.size) / self.bytes_per_s
            self.travelling.append((self.free_at + self.delay, packet))

    def deliver(self, now):
        """Writes what has arrived by `now`; what a device that is down refuses is lost, as on a cable."""
        while self.travelling and self.travelling[0][0] <= now:
            with contextlib.suppress(OSError):
                os.write(self.target, self.travelling.popleft()[1])

    def wakes_at(self):
        """Returns when there is something to do beside packets that come in."""
        times = [self.travelling[0][0]] if self.travelling else []
        return min(times if self.drained else [*times, self.free_at - _AHEAD_S], default=float("inf"))


def wire_bytes(packet):
    """Returns the bytes on the wire of an IP packet of so many bytes, as full frames would carry it."""
    numbers = max(packet - _HEADERS, 0)
    return numbers + max(-(-numbers // PAYLOAD), 1) * (FRAME - PAYLOAD)


def relay(first, second, stop, bytes_per_s, delay):
    """Carries packets between two file descriptors until the third can be read."""
    ways = Way(first, second, bytes_per_s, delay), Way(second, first, bytes_per_s, delay)
    while True:
        for way in ways:
            now = time.monotonic()
            way.deliver(now)
            way.take(now)
        wait = min(way.wakes_at() for way in ways) - time.monotonic()
        watched = [stop, *(way.source for way in ways if way.drained)]
        if stop in select.select(watched, [], [], None if wait == float("inf") else max(wait, 0))[0]:
            return


def main():
    first, second, gbit, delay_us = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started it is told too, and ends it
    with contextlib.suppress(PermissionError):  # it sleeps mostly, and what it is late by is taken for delay
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    relay(int(first), int(second), 0, float(gbit) * 1e9 / 8 or float("inf"), 1e-6 * float(delay_us))


if __name__ == "__main__":
    main()
