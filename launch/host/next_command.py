"""The line by which a person starts a command of ours the way this process was started."""

import os
import shutil
import sys
from pathlib import Path

STARTED_BY = "CELLWRIGHT_STARTED_BY"  # set by launch.run for its ranks: the words up to the command


def command_line(command, ranks=1):
    """Returns the words that start `command` ("train", "eval", ...) as this process was started: with its Python, under
    its launcher, from a checkout or from an installed package. ranks: how many the new line is to start.
    """
    started_by = os.environ.get(STARTED_BY)
    if started_by and ranks > 1:
        return started_by if command == "train" else f"{started_by} {command}"
    words = f"{python()} -m {room()}.{command}"
    return f"mpirun -n {ranks} {words}" if ranks > 1 else words


def python():
    """Returns "python" where the shell finds this interpreter by that name, else its path."""
    found = shutil.which("python")
    if found and os.path.samefile(os.path.dirname(found), os.path.dirname(sys.executable)):
        return "python"
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def room():
    """Returns "launch" in a command that was started so from a checkout, else "cellwright.launch"."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return "launch" if spec is not None and spec.name.startswith("launch.") else "cellwright.launch"
