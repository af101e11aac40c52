"""What loader, supervisor and workers say to one another over SOCK_SEQPACKET sockets: one message a packet,
descriptors alongside.
"""

import os
import pickle
import socket
import struct

TASK = struct.Struct("<qqiiii")
"""generation, epoch, slot, first place, end, number of the task"""
MAX_PACKET = 1 << 16
_MAX_FDS = 250


class NoSubstitute(Exception):
    """A file cannot be used, and none of those that were to stand in for it. found: [(sample, reason)] of all these."""

    def __init__(self, told, found):
        super().__init__(told)
        self.found = found


def pair():
    """Two connected sockets, closed on exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock, message, fds=()):
    """Sends a picklable message of up to 64 KiB."""
    socket.send_fds(sock, [pickle.dumps(message)], fds)


def receive(sock):
    """(message, descriptors); EOFError where the other side is gone."""
    try:
        data, fds, _, _ = socket.recv_fds(sock, MAX_PACKET, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        data = b""
    if not data:
        raise EOFError
    return pickle.loads(data), fds


def to_memory(thing):
    """A memfd that holds the pickled thing: no limit of size, no name."""
    fd = os.memfd_create("cellwright-spec", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        pickle.dump(thing, file, protocol=5)
    return fd


def from_memory(fd):
    """What `to_memory` wrote; closes the descriptor."""
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return pickle.load(file)
