"""A rank that sums with oneCCL, for launch.bench hosts: run as a file, by an interpreter that has oneccl from PyPI.

    python oneccl_peer.py JOB, see sum_turns.py; the calls are those of oneccl.h, by ctypes

Of what oneCCL lets choose it has what was fastest between two hosts of two ranks, all on two cores: sums inside a host
first, in 16 parts, with shared memory inside the host, and workers that sleep while they wait. Variables that are set
already stay.
"""

import array
import ctypes
import json
import os
import sys
from pathlib import Path

from sum_turns import Turns

_ID_BYTES = 4096
_FLOAT32, _SUM = 7, 0
_UNDEFINED, _UNDEFINED_PLUGIN = -(2**31), 0xBAAAAAAE
_MAGIC, _VERSION = 0xCAFEBEEF, 20220200


class Id(ctypes.Structure):
    """onecclUniqueId."""

    _fields_ = [("data", ctypes.c_char * _ID_BYTES)]


class Config(ctypes.Structure):
    """onecclConfig_t."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        *((name, ctypes.c_uint) for name in ("magic", "version")),
        *((name, ctypes.c_int) for name in ("blocking", "cga_cluster_size", "min_ctas", "max_ctas")),
        ("net_name", ctypes.c_char_p),
        *((name, ctypes.c_int) for name in ("split_share", "multi_thread")),
        ("plugin", ctypes.c_uint),
    ]


def settings(job):
    """Returns the environment of sums on CPU over TCP, without a launcher of oneCCL's own."""
    return {
        "CCL_PLUGIN": "ONECCL_LEGACY_CPU",
        "CCL_LOG_LEVEL": "error",
        "CCL_ATL_TRANSPORT": "ofi",
        "CCL_PROCESS_LAUNCHER": "none",
        "CCL_LOCAL_RANK": str(job["local_rank"]),
        "CCL_LOCAL_SIZE": str(job["local_size"]),
        "CCL_KVS_IFACE": job["device"],
        "CCL_ALLREDUCE": "2d",
        "CCL_ALLREDUCE_2D_CHUNK_COUNT": "16",
        "CCL_ATL_SHM": "1",
        "CCL_YIELD": "sleep",
        "FI_PROVIDER": "tcp",
        "FI_TCP_IFACE": job["device"],
    }


class Communicator:
    """The ranks of a job. share: takes the first rank's text and returns it on every rank."""

    def __init__(self, rank, size, share):
        self._library = ctypes.CDLL("libccl.so.2")
        self._library.onecclGetErrorString.restype = ctypes.c_char_p
        own = Id()
        if rank == 0:
            self._call("onecclGetUniqueId", ctypes.byref(own))
        found = Id.from_buffer_copy(bytes.fromhex(share(bytes(own).hex())))
        undefined = [_UNDEFINED] * 4
        config = Config(ctypes.sizeof(Config), _MAGIC, _VERSION, *undefined, None, *undefined[:2], _UNDEFINED_PLUGIN)
        self._handle = ctypes.c_void_p()
        made = ctypes.byref(self._handle), ctypes.c_size_t(size), found, ctypes.c_int(rank), ctypes.byref(config)
        self._call("onecclCommInitRankConfig", *made)

    def sum(self, source, target):
        """Sums an array of floats over the ranks into another, which it returns."""
        here, there = (ctypes.c_void_p(numbers.buffer_info()[0]) for numbers in (source, target))
        count = ctypes.c_size_t(len(source))
        self._call("onecclAllReduce", here, there, count, _FLOAT32, _SUM, self._handle, None)
        return target

    def close(self):
        """Removes what it holds in shared memory. Collective."""
        self._call("onecclCommDestroy", self._handle)

    def _call(self, name, *arguments):
        status = getattr(self._library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name}: {self._library.onecclGetErrorString(status).decode()}")


def main(job):
    turns = Turns(job["rank"], job["size"])
    communicator = Communicator(job["rank"], job["size"], turns.share)
    targets = {}

    def numbers_of(count, value):
        targets.clear()
        targets[count] = array.array("f", [0.0]) * count
        return array.array("f", [value]) * count

    turns.take(numbers_of, lambda numbers: communicator.sum(numbers, targets[len(numbers)]))
    communicator.close()


if __name__ == "__main__":
    job, library = json.loads(sys.argv[1]), str(Path(sys.prefix, "lib"))
    paths = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    if paths[0] != library:  # it is read when a process starts
        variables = {**settings(job), **os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [library, *paths]))}
        os.execve(sys.executable, [sys.executable, *sys.argv], variables)
    main(job)
