"""What made a file: versions and the revision of the source."""

import platform
from pathlib import Path

import mindspore
import numpy as np


def versions():
    """Returns a dict of the versions that decide what a run computes."""
    return {"python": platform.python_version(), "mindspore": mindspore.__version__, "numpy": np.__version__}


def source_revision(folder=None):
    """Returns the commit hash checked out in the repository that holds `folder` (default: this file), or None.

    Read from the files of .git: under MPI a process had better not fork one for git.
    """
    start = Path(folder or __file__).resolve()
    for parent in (start, *start.parents):
        git = parent / ".git"
        if not git.is_dir():
            continue
        try:
            head = (git / "HEAD").read_text().strip()
            if not head.startswith("ref: "):
                return head
            name = head[5:]
            if (git / name).exists():
                return (git / name).read_text().strip()
            for line in (git / "packed-refs").read_text().splitlines():
                if line.endswith(" " + name):
                    return line.split()[0]
        except OSError:
            pass
        return None
    return None
