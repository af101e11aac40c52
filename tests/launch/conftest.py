import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "nets"))  # mindcv_place.py
sys.path.insert(0, str(Path(__file__).parent))  # runs.py
