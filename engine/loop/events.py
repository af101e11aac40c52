"""TensorBoard event files, written by hand: scalars need two small messages and a checksum."""

import os
import socket
import struct
import time
from pathlib import Path

_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected


def _table():
    table = []
    for word in range(256):
        for _ in range(8):
            word = (word >> 1) ^ (_POLYNOMIAL if word & 1 else 0)
        table.append(word)
    return table


_TABLE = _table()


def masked_crc(data):
    """Returns TFRecord's checksum of bytes: CRC-32C, rotated right by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes_field(number, data):
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def event(wall_time, step=None, scalars=None, file_version=None):
    """Returns the protobuf bytes of a TensorBoard Event (fields 1 time, 2 step, 3 version, 5 summary)."""
    message = _varint(1 << 3 | 1) + struct.pack("<d", wall_time)
    if step is not None:
        message += _varint(2 << 3) + _varint(step)
    if file_version is not None:
        message += _bytes_field(3, file_version.encode())
    if scalars:
        values = b"".join(
            _bytes_field(1, _bytes_field(1, tag.encode()) + _varint(2 << 3 | 5) + struct.pack("<f", value))
            for tag, value in scalars.items()
        )
        message += _bytes_field(5, values)
    return message


class Events:
    """A TensorBoard event file in a folder; `write(step, {tag: number})`."""

    def __init__(self, folder):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._file = open(folder / name, "wb")
        self._record(event(time.time(), file_version="brain.Event:2"))

    def write(self, step, scalars):
        self._record(event(time.time(), step, scalars))

    def _record(self, data):
        length = struct.pack("<Q", len(data))
        self._file.write(length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data)))

    def flush(self):
        self._file.flush()

    def close(self):
        self._file.close()
