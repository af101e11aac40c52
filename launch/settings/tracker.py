"""--tracker MODULE:FUNCTION, the way from the command line to whatever keeps the course of runs."""

import importlib
import os
import sys


def find_tracker(named):
    """Returns the function that --tracker names: `start(folder, settings)` returns `log`, which takes a dict.

    The module is looked for in the current folder too. ValueError with one line where there is none.
    """
    module, colon, function = named.partition(":")
    if not (module and colon and function):
        raise ValueError(f"--tracker {named}: must be MODULE:FUNCTION, such as my_module:start")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        start = getattr(importlib.import_module(module), function, None)
    except ImportError as error:
        raise ValueError(f"--tracker {named}: {error}") from None
    if not callable(start):
        raise ValueError(f"--tracker {named}: {module} has no function {function}")
    return start
