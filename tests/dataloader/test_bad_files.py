"""Bad files: refused, replaced alike for every worker and rank count, listed, and too many end the run."""

import csv
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from loader_cases import copied, digest
from picture_files import jpeg, picture

from cellwright.dataloader import EvalTransform, ImageFolder, Loader, TooManyBadFiles, TrainTransform
from cellwright.dataloader.decode.decoders import BadImage
from cellwright.dataloader.decode.picture import Encoded

TRAIN = TrainTransform(24)


PHOTO = jpeg(picture(np.random.default_rng(3), 60, 80))


def png_bomb():
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
        + chunk(b"IEND", b"")
    )


def jpeg_bomb():
    data = bytearray(PHOTO)
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 60000, 60000)
    return bytes(data)


BAD = {
    "empty": b"",
    "text": b"this is no picture\n" * 20,
    "truncated": PHOTO[:-300],
    "without its end": PHOTO[:-2],
    "cut in its header": PHOTO[:100],
    "garbled": PHOTO[:700] + b"\xff\xd9\x00\x07" * 30 + PHOTO[900:],
    "png bomb": png_bomb(),
    "jpeg bomb": jpeg_bomb(),
    "one pixel": cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes(),
    "truncated png": cv2.imencode(".png", np.zeros((40, 40, 3), np.uint8))[1].tobytes()[:-20],
    "gif": b"GIF89a" + bytes(50),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_usable_picture_is_refused(name):
    with pytest.raises(BadImage):
        Encoded(BAD[name]).pixels()


@pytest.fixture
def partly_bad(folder, tmp_path):
    """The folder's files with 4 of 37 replaced by bad ones; returns the source and the bad sample ids."""
    bad = dict(zip((3, 8, 20, 36), BAD.values()))
    return copied(ImageFolder(folder), tmp_path, lambda k, data: bad.get(k, data)), tuple(bad)


@pytest.mark.slow
def test_a_bad_file_is_replaced_alike_for_every_worker_and_rank_count_and_listed(partly_bad, tmp_path):
    source, ids = partly_bad

    def run(**settings):
        out = tmp_path / f"{time.monotonic_ns()}.csv"
        with Loader(source, 8, TRAIN, seed=3, tail="wrap", quarantine=out, max_bad=0.2, **settings) as loader:
            batches = [(digest(b), b.weights.all()) for b in loader.epoch(0)]
            assert all(full for _, full in batches)
            return [d for d, _ in batches], loader.quarantine, out

    one, quarantine, table = run(workers=1)
    assert set(quarantine.files) == {source.path(k) for k in ids}
    assert quarantine.epoch_count(0) == 4
    rows = list(csv.reader(table.read_text().splitlines()))
    assert rows[0] == ["path", "reason", "epoch"]
    assert {(row[0], row[2]) for row in rows[1:]} == {(source.path(k), "0") for k in ids} and all(
        row[1] for row in rows
    )
    assert run(workers=3)[0] == one
    halves = [run(workers=2, rank=rank, size=2)[0] for rank in range(2)]
    assert halves[0][:2] == one[0:4:2] and halves[1][:2] == one[1:4:2]


def test_evaluation_gives_a_bad_file_no_weight(partly_bad):
    source, ids = partly_bad
    with Loader(source, 8, EvalTransform(24), max_bad=1, workers=2) as loader:
        for _ in range(3):  # slots are used again
            seen = []
            for batch in loader.epoch(0):
                assert not batch.images[batch.weights == 0].any()
                seen.append(batch.ids[batch.weights > 0].copy())
        seen = np.concatenate(seen)
    assert sorted(seen.tolist()) == [k for k in range(37) if k not in ids]


def test_too_many_bad_files_end_the_run(partly_bad):
    with Loader(partly_bad[0], 8, TRAIN, workers=1, max_bad=0.06) as loader:
        with pytest.raises(TooManyBadFiles, match="3 of 37 files cannot be used, max_bad=0.06 allows 2"):
            for _ in loader.epoch(0):
                pass


@pytest.mark.parametrize(
    "max_bad, error, told",
    ((0.06, TooManyBadFiles, "3 of 37 files cannot be used"), (1, RuntimeError, "no other file could take its place$")),
)
def test_where_no_file_is_good_the_files_are_told_of_and_not_the_code(folder, tmp_path, max_bad, error, told):
    source = copied(ImageFolder(folder), tmp_path, lambda k, data: b"no picture")
    with Loader(source, 8, TRAIN, workers=1, max_bad=max_bad) as loader:
        with pytest.raises(error, match=told) as caught:
            next(loader.epoch(0))
    assert "Traceback" not in str(caught.value)
