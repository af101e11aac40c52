import sys
from pathlib import Path

import mindspore as ms
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # cells have to live in files: small_net.py


@pytest.fixture(autouse=True)
def graph_mode():
    ms.set_context(mode=ms.GRAPH_MODE)
