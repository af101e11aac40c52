"""What lies in shared memory and belongs to nobody: other programs of the machine may come and go meanwhile."""

import os
from pathlib import Path


def unused_shared_memory():
    """Returns the names in /dev/shm that no process has mapped."""
    maps = ""
    for path in Path("/proc").glob("[0-9]*/maps"):
        try:
            maps += path.read_text()
        except OSError:
            continue
    return {name for name in os.listdir("/dev/shm") if f"/dev/shm/{name}" not in maps}
