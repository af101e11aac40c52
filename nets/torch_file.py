"""Reads the tensors of a PyTorch file (.pth, .pt, .bin) without PyTorch, and runs nothing from the file.

Such a file is a pickle, and a pickle is a program: what it may call is what `find_class` hands out. Here that
is a dictionary and stand-ins that note down where a tensor lies; any other name that the file asks for is
refused. Both layouts are read: the zip archive (PyTorch 1.6 and later) and the older row of pickles with the
numbers behind them.
"""

import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGE_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


@dataclass
class _Storage:
    dtype: str
    numel: int
    data: bytes | None = None

    @property
    def nbytes(self):
        return self.numel * (2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize)

    def array(self):
        if self.data is None or len(self.data) != self.nbytes:
            raise ValueError("a tensor's numbers are missing or cut short")
        if self.dtype == "bfloat16":  # the upper half of a float32
            return (np.frombuffer(self.data, "<u2").astype("<u4") << 16).view("<f4")
        return np.frombuffer(self.data, self.dtype)


@dataclass(frozen=True)
class _TensorNote:
    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple

    def array(self):
        flat = self.storage.array()
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides))
        size = int(np.prod(self.shape, dtype=object))
        if len(self.shape) != len(self.strides) or min((*self.shape, *self.strides, self.offset), default=0) < 0:
            raise ValueError("a tensor's shape makes no sense")
        if size and (last >= flat.size or size > flat.size):
            raise ValueError("a tensor reaches beyond its numbers")
        if size == 0:
            return np.zeros(self.shape, flat.dtype)
        strides = [stride * flat.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides).copy()


def _note_tensor(storage, offset, shape, strides, *_):
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without numbers")
    return _TensorNote(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _note_parameter(tensor, *_):
    return tensor


_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _note_tensor,
    ("torch._utils", "_rebuild_parameter"): _note_parameter,
    # The storage classes are only ever named, within the note that says where a tensor's numbers lie.
    **{("torch", name): dtype for name, dtype in _STORAGE_TYPES.items()},
}


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, file, storages):
        super().__init__(file, encoding="utf-8")
        self.storages = storages

    def find_class(self, module, name):
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}; only tensors are read from a file")
        return _ALLOWED[module, name]

    def persistent_load(self, note):
        kind, dtype, key, _, numel, *view = note
        if kind != "storage" or dtype not in _STORAGE_TYPES.values() or (view and view[0] is not None):
            raise pickle.UnpicklingError("it holds tensors of a kind that is not known")
        return self.storages.setdefault(str(key), _Storage(dtype, int(numel)))


def read_torch_file(path):
    """Returns the tensors of a PyTorch file: a dict from name to array; bfloat16 comes as float32.

    A dict with `state_dict` or `model` in it is opened, other entries of it are passed over. ValueError, with
    the path, where the file is damaged or asks for anything but tensors.
    """
    try:
        with open(path, "rb") as file:
            found = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
        for key in ("state_dict", "model"):
            if isinstance(found, dict) and isinstance(found.get(key), dict):
                found = found[key]
        if not isinstance(found, dict):
            raise ValueError("it holds no dictionary of tensors")
        return {name: note.array() for name, note in found.items() if isinstance(note, _TensorNote)}
    # A damaged zip or pickle can raise almost anything from within its reader.
    except Exception as error:
        raise ValueError(f"{path}: not a PyTorch file of tensors: {error or type(error).__name__}") from error


def _read_zip(file):
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        names = {name.split("/", 1)[-1]: name for name in archive.namelist()}
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise ValueError("its parts are compressed, which PyTorch does not do")
        if "byteorder" in names and archive.read(names["byteorder"]) != b"little":
            raise ValueError("its numbers are big-endian")
        storages = {}
        with archive.open(names["data.pkl"]) as program:
            found = _TensorUnpickler(program, storages).load()
        for key, storage in storages.items():
            storage.data = archive.read(names[f"data/{key}"])
        return found


def _read_legacy(file):
    file.seek(0)
    storages = {}
    magic, protocol, system = (_TensorUnpickler(file, storages).load() for _ in range(3))
    if magic != _LEGACY_MAGIC or protocol != 1001:
        raise ValueError("it does not begin as one")
    if not system.get("little_endian", True):
        raise ValueError("its numbers are big-endian")
    found = _TensorUnpickler(file, storages).load()
    for key in _TensorUnpickler(file, storages).load():
        storage = storages[str(key)]
        (numel,) = struct.unpack("<q", file.read(8))
        if numel != storage.numel:
            raise ValueError("a tensor's numbers are missing or cut short")
        storage.data = file.read(storage.nbytes)
    return found
