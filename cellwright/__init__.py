"""The one name under which all rooms are importable: `cellwright.engine`, `cellwright.kernels`, ..."""

from pathlib import Path

_here = Path(__file__).parent
if not (_here / "engine").is_dir():  # a checkout: the rooms lie beside this folder; in a wheel they lie inside it
    __path__.append(str(_here.parent))

__version__ = "0.2.0"
