"""A file that a command is to write in the end: looked at before the work, so that nothing is lost for want of it."""

import os
from pathlib import Path


def check_output(flag, path):
    """Raises ValueError where no file can be written at `path`, which `flag` names; None asks for none."""
    if path is None:
        return
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{flag} {path}: this is a folder, and a file is to be written")
    if not path.parent.is_dir():
        raise ValueError(f"{flag} {path}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"{flag} {path}: cannot be written")
