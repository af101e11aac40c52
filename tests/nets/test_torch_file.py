"""PyTorch's files: the two in torch_files/ were written by PyTorch 2.13, the hostile ones are made here."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cellwright.nets.torch_file import read_torch_file

WRITTEN = Path(__file__).parent / "torch_files"


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_every_kind_of_tensor_is_read_as_it_was_written(layout):
    found = read_torch_file(WRITTEN / f"{layout}.pth")
    grid = np.arange(24, dtype=np.float32).reshape(4, 6)
    wanted = {
        "plain": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
        "half": np.array([0.5, -1.25, 3.0], np.float16),
        "bfloat": np.array([0.5, -1.25, 3.0], np.float32),
        "count": np.array(7, np.int64),
        "transposed": grid.T,
        "part": grid[1:3, 2:5],
        "parameter": np.array([1.5, 2.5], np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert np.array_equal(found[name], array)
        found[name][...] = 0  # a copy of its own, which can be written to


class Calls:
    """Pickles to a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def write(path, layout, content):
    """Writes `content` as PyTorch would, without a single tensor."""
    if layout == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(content, 2))
    else:
        parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, content, [])
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))


@pytest.mark.parametrize("layout", ["zip", "legacy"])
@pytest.mark.parametrize("function", [os.mkdir, eval, getattr, __import__, np.load])
def test_nothing_in_a_file_is_called(tmp_path, layout, function):
    trap = tmp_path / "trap"
    arguments = {
        os.mkdir: (str(trap),),
        eval: (f"__import__('os').mkdir({str(trap)!r})",),
        getattr: (os, "mkdir"),
    }.get(function, ("os",))
    if function is getattr:  # a module cannot be pickled; a class in it will do
        arguments = (pickle.Pickler, "dump")
    path = tmp_path / "weights.pth"
    write(path, layout, {"weight": Calls(function, *arguments)})
    with pytest.raises(
        ValueError, match="weights.pth: not a PyTorch file of tensors: it asks for .*; only tensors are read"
    ):
        read_torch_file(path)
    assert not trap.exists()


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_a_file_that_is_cut_short_is_refused(tmp_path, layout):
    whole = (WRITTEN / f"{layout}.pth").read_bytes()
    path = tmp_path / "weights.pth"
    for length in range(1, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="weights.pth"):
            read_torch_file(path)


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_a_file_with_turned_bytes_gives_tensors_or_a_value_error(tmp_path, layout):
    whole = bytearray((WRITTEN / f"{layout}.pth").read_bytes())
    random = np.random.default_rng(1)
    path = tmp_path / "weights.pth"
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] = random.integers(256)
        path.write_bytes(damaged)
        try:
            assert all(isinstance(value, np.ndarray) for value in read_torch_file(path).values())
        except ValueError as error:
            assert "weights.pth" in str(error)


def tensor_note(shape, strides, offset=0, numel=6):
    """A pickle of {"w": tensor} whose numbers are the six floats of storage 0."""
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + _whole(numel) + b"tQ"
    )
    tuples = b"".join(b"(" + b"".join(map(_whole, numbers)) + b"t" for numbers in (shape, strides))
    return b"\x80\x02}X\x01\x00\x00\x00w" + rebuild + b"(" + storage + _whole(offset) + tuples + b"\x89}tRs."


def _whole(number):
    return pickle.dumps(number, 2)[2:-1]


@pytest.mark.parametrize(
    "shape, strides, offset, numel",
    [
        ((3, 3), (3, 1), 0, 6),
        ((2, 3), (3, 1), 1, 6),
        ((7,), (0,), 0, 6),
        ((10**12,), (0,), 0, 6),
        ((2,), (-1,), 3, 6),
        ((-2,), (1,), 0, 6),
        ((2, 3), (1,), 0, 6),
        ((2, 3), (3, 1), 0, 7),
        ((2, 3), (3, 1), -1, 6),
    ],
)
def test_a_tensor_that_reaches_beyond_its_numbers_is_refused(tmp_path, shape, strides, offset, numel):
    def written(*note):
        path = tmp_path / "weights.pth"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", tensor_note(*note))
            archive.writestr("archive/data/0", np.arange(6, dtype="<f4").tobytes())
        return path

    assert np.array_equal(read_torch_file(written((2, 3), (3, 1)))["w"], np.arange(6).reshape(2, 3))
    with pytest.raises(ValueError, match="weights.pth: not a PyTorch file of tensors: a tensor"):
        read_torch_file(written(shape, strides, offset, numel))
