"""The table of operations, and what is made from it on both sides."""

import ctypes
from pathlib import Path
from types import SimpleNamespace

import pytest

from cellwright.kernels.csrc import ShimMissing, operations, program_abi, shim, shim_available


def test_the_header_is_made_from_the_table():
    text = Path(operations.__file__).with_name("operations.h").read_text(encoding="utf-8")
    assert text == operations.header()[0], "run `python kernels/csrc/operations.py`"


def test_no_name_stands_for_two_things():
    for kinds in (operations.OPERATIONS, operations.JOBS):
        assert len({kind.name for kind in kinds}) == len(kinds)
        for kind in kinds:
            names = [*kind.operands, *kind.integers, *kind.floats]
            assert len(set(names)) == len(names)
    assert len({number for _, number, _ in operations.ERRORS}) == len(operations.ERRORS)


@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
def test_a_library_of_another_table_is_refused():
    class Table:
        def __init__(self, digest):
            self.digest = digest

        def __call__(self, what):
            return self.digest if what == 0 else -1

    digest = operations.header()[1]
    shim.check_sources(SimpleNamespace(cellwright_table=Table(digest)))
    for library in (SimpleNamespace(cellwright_table=Table(digest + 1)), SimpleNamespace()):
        with pytest.raises(ShimMissing, match="build it again"):
            shim.check_sources(library)


@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
def test_both_sides_lay_structures_out_alike():
    lib = program_abi.library()
    assert lib.cellwright_table(1) == ctypes.sizeof(program_abi.Operation)
    assert lib.cellwright_table(2) == ctypes.sizeof(program_abi.Convolution)
