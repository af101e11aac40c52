import sys
from pathlib import Path

import mindspore
import pytest

# Cells have to live in files: small_cells.py, step_cells.py; the folder `fuzz` is imported as a package.
sys.path[:0] = [str(Path(__file__).parent / folder) for folder in ("compiler", "nodes", ".")]


@pytest.fixture(autouse=True)
def graph_mode():
    mindspore.set_context(mode=mindspore.GRAPH_MODE, device_target="CPU")
