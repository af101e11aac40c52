"""Where the tests find MindCV: it is installed, or something stands in for it."""

import importlib.util
import os
from pathlib import Path

STAND_IN = Path(__file__).with_name("stand_in")
INSTALLED = importlib.util.find_spec("mindcv") is not None
# What a process needs on its PYTHONPATH beside the rest.
FOLDERS = [] if INSTALLED else [str(STAND_IN)]


def python_path(*folders):
    """Returns a PYTHONPATH of these folders, of those that this process was given, and of MindCV's."""
    return os.pathsep.join([*map(str, folders), *FOLDERS, *filter(None, [os.environ.get("PYTHONPATH")])])
