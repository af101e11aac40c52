"""Ways to damage an image file: what the tests of damaged files draw from."""

import numpy as np


def segments(data):
    """Where each segment of a JPEG begins, up to the scan; for other files places of four-byte words."""
    if data[:2] != b"\xff\xd8":
        return list(range(0, min(len(data), 120), 4))
    at, found = 2, []
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        found.append(at)
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return [*found, at]


def _bits(rng, data):
    for at in rng.integers(2, len(data), int(rng.integers(1, 4))):
        data[at] ^= 1 << int(rng.integers(8))


def _header_bytes(rng, data):
    for at in rng.integers(2, min(len(data), 700), int(rng.integers(1, 4))):
        data[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)]))


def _segment_word(rng, data):
    """A marker, a length, or what follows: dimensions, components, tables."""
    at = int(rng.choice(segments(bytes(data)))) + int(rng.integers(0, 12))
    if at < len(data):
        data[at] = int(rng.integers(256))


def _truncated(rng, data):
    cut = int(rng.choice([*segments(bytes(data)), *rng.integers(1, len(data), 3)])) + int(rng.integers(0, 5))
    del data[cut:]


def _filled(rng, data):
    begin, value = int(rng.integers(2, len(data))), int(rng.choice([0, 0xFF, 0x55]))
    end = min(len(data), begin + int(rng.integers(1, 400)))
    data[begin:end] = bytes([value]) * (end - begin)


def _marker_in_scan(rng, data):
    at = int(rng.integers(len(data) // 2, len(data)))
    data[at : at + 2] = bytes([0xFF, int(rng.choice([0xD9, 0xD0, 0xD3, 0xDA, 0xC4, 0xFF, 0x01]))])


def _inserted(rng, data):
    at = int(rng.integers(2, len(data)))
    data[at:at] = rng.integers(0, 256, int(rng.integers(1, 9)), dtype=np.uint8).tobytes()


def _removed(rng, data):
    at = int(rng.integers(2, len(data)))
    del data[at : at + int(rng.integers(1, 40))]


def _segment_moved(rng, data):
    places = segments(bytes(data))
    if len(places) > 2:
        k = int(rng.integers(len(places) - 1))
        part = data[places[k] : places[k + 1]]
        if rng.integers(2):
            del data[places[k] : places[k + 1]]
        at = places[0] if rng.integers(2) else len(data) - 2
        data[at:at] = part


DAMAGES = (
    _bits,
    _header_bytes,
    _segment_word,
    _truncated,
    _filled,
    _marker_in_scan,
    _inserted,
    _removed,
    _segment_moved,
)


def damaged(rng, data):
    """`data` with one or two damages."""
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 3))):
        if len(data) > 8:
            DAMAGES[int(rng.integers(len(DAMAGES)))](rng, data)
    return bytes(data)


def cut_everywhere(data):
    """Yields a file cut at, just behind and just ahead of the begin of each of its segments."""
    for at in segments(data):
        for off in (-1, 0, 1, 2, 3, 4, 7):
            if 0 < at + off < len(data):
                yield data[: at + off]
