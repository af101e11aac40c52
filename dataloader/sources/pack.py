"""The pack: a whole data set in one file that is mapped into memory, with notes that let a worker decode no
more than its crop.

    magic, version, sizes and checksum of the tables | sample after sample | tables

JPEG files keep their bytes, and with them the pixels; what is added are the notes of `pack_notes`, some 2 %
of the file.
"""

import json
import os
import struct
import zlib

import numpy as np

from cellwright.dataloader.sources.source import PathList, Source, check_labels

MAGIC, VERSION = b"CELLPACK", 1
_HEAD = struct.Struct("<8sIIQQ")  # magic, version, CRC-32 of the tables, their position, their size
_TABLES = ("labels", "offsets", "notes", "raw_sizes", "checksums", "path_bytes", "path_offsets")
ENCODED, RAW = "encoded", "raw"


class PackWriter:
    """Writes a pack under a temporary name beside `path` and gives it its name when all is in it; otherwise
    nothing is left.

    form: "encoded" for image files, "raw" for pixels.
    """

    def __init__(self, path, classes, form=ENCODED):
        self.path, self.classes, self.form = str(path), list(classes), form
        self._part = f"{self.path}.{os.getpid()}.part"
        self._file = open(self._part, "wb")
        self._file.write(bytes(_HEAD.size))
        self._offsets, self._notes, self._sizes, self._sums, self._labels, self._paths = (
            [_HEAD.size],
            [],
            [],
            [],
            [],
            [],
        )

    def add(self, path, label, data, notes=b"", size=(0, 0)):
        """Appends a sample: bytes of an image file and its notes, or raw pixels and their (height, width)."""
        self._file.write(data)
        self._file.write(notes)
        self._offsets.append(self._offsets[-1] + len(data) + len(notes))
        self._notes.append(len(notes))
        self._sizes.append(size)
        self._sums.append(zlib.crc32(notes, zlib.crc32(data)))
        self._labels.append(label)
        self._paths.append(path)

    def finish(self):
        """Writes the tables, waits for the disk and gives the file its name."""
        names = PathList.pack(self._paths)
        arrays = dict(zip(_TABLES, (
            np.array(self._labels, np.int32), np.array(self._offsets, np.int64), np.array(self._notes, np.int32),
            np.array(self._sizes, np.int32).reshape(-1, 2), np.array(self._sums, np.uint32), names.blob, names.offsets,
        )))  # fmt: skip
        about = {
            "classes": self.classes,
            "form": self.form,
            "tables": {k: [a.dtype.str, a.shape] for k, a in arrays.items()},
        }
        text = json.dumps(about).encode()
        tables = struct.pack("<Q", len(text)) + text + b"".join(a.tobytes() for a in arrays.values())
        at = self._file.tell()
        self._file.write(tables)
        self._file.seek(0)
        self._file.write(_HEAD.pack(MAGIC, VERSION, zlib.crc32(tables), at, len(tables)))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._part, self.path)

    def discard(self):
        """Takes the unfinished file away."""
        self._file.close()
        if os.path.exists(self._part):
            os.unlink(self._part)


class Pack(Source):
    """The samples of a pack file. ValueError where it is none, is damaged in its tables, of another version, or has a
    label that is none of its classes.
    """

    def __init__(self, path):
        self.file = os.path.abspath(path)
        size = os.path.getsize(self.file)
        with open(self.file, "rb") as file:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size or head[:8] != MAGIC:
                raise ValueError(f"{path}: no pack")
            _, version, checksum, at, length = _HEAD.unpack(head)
            if version != VERSION:
                raise ValueError(f"{path}: pack of version {version}, this reads version {VERSION}")
            file.seek(at)
            tables = file.read(length)
        if at + length != size or len(tables) != length or zlib.crc32(tables) != checksum:
            raise ValueError(f"{path}: damaged pack (size or checksum of the tables)")
        self._read_tables(tables)
        check_labels(self.labels, len(self.classes), path)
        self._bytes = None

    def _read_tables(self, tables):
        (length,) = struct.unpack_from("<Q", tables)
        about = json.loads(tables[8 : 8 + length])
        at, arrays = 8 + length, {}
        for name, (kind, shape) in about["tables"].items():
            count = int(np.prod(shape))
            arrays[name] = np.frombuffer(tables, kind, count, at).reshape(shape)
            at += arrays[name].nbytes
        self.classes, self.form = about["classes"], about["form"]
        self.labels, self._offsets, self._notes, self._sizes, self.checksums = (arrays[name] for name in _TABLES[:5])
        self.names = PathList(arrays["path_bytes"], arrays["path_offsets"])

    def __getstate__(self):
        return {**self.__dict__, "_bytes": None}  # each process maps the file itself

    def path(self, sample):
        return f"{self.file}:{self.names[sample]}"

    def record(self, sample):
        """(bytes of the file or pixels, notes) of a sample, views into the mapped file."""
        if self._bytes is None:
            self._bytes = memoryview(np.memmap(self.file, np.uint8, "r"))
        first, end = int(self._offsets[sample]), int(self._offsets[sample + 1])
        middle = end - int(self._notes[sample])
        return self._bytes[first:middle], self._bytes[middle:end]

    def read(self, sample):
        data, _ = self.record(sample)
        if self.form != RAW:
            return data
        height, width = self._sizes[sample].tolist()
        if not height:
            raise OSError("damaged when it was packed")
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)

    def notes(self, sample):
        return self.record(sample)[1]

    def intact(self, sample):
        """True where the sample's checksum holds."""
        data, notes = self.record(sample)
        return zlib.crc32(notes, zlib.crc32(data)) == self.checksums[sample]
