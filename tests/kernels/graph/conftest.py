import sys
from pathlib import Path

import mindspore
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # cells have to live in files: small_cells.py


@pytest.fixture(autouse=True)
def graph_mode():
    mindspore.set_context(mode=mindspore.GRAPH_MODE, device_target="CPU")
