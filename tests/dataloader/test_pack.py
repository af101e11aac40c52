"""The pack: the folder's very batches from one file; atomic, checked, versioned."""

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from loader_cases import copied, digest
from picture_files import picture

from cellwright.dataloader import EvalTransform, ImageFolder, Loader, Pack, TrainTransform
from cellwright.dataloader.decode import jpeg_region
from cellwright.dataloader.decode.picture import Encoded, open_picture
from cellwright.launch.pack import main, shrink_to

ROOT = Path(__file__).resolve().parents[2]
TRAIN = TrainTransform(24)


@pytest.fixture(scope="module")
def photos(folder, tmp_path_factory):
    """The small folder and six larger JPEGs, of which parts are cut."""
    root = tmp_path_factory.mktemp("photos")
    copied(ImageFolder(folder), root)
    rng = np.random.default_rng(4)
    for k in range(6):
        image = picture(rng, 300 + 13 * k, 420 - 31 * k).astype(int) + rng.integers(
            -20, 20, (300 + 13 * k, 420 - 31 * k, 1)
        )
        cv2.imwrite(str(root / "class1" / f"big{k}.jpg"), np.clip(image, 0, 255).astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def packed(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("pack") / "photos.pack"
    assert main(["--data_path", str(photos), "--out", str(out), "--workers", "2"]) == 0
    return out


def test_a_pack_gives_the_folder_s_batches_bit_for_bit(photos, packed):
    folder, pack = ImageFolder(photos), Pack(packed)
    assert pack.classes == folder.classes and np.array_equal(pack.labels, folder.labels)
    assert pack.path(3) == f"{packed}:{os.path.relpath(folder.path(3), photos)}"
    assert all(bytes(pack.read(k)) == folder.read(k) for k in range(len(folder)))
    for transform in (
        TRAIN,
        EvalTransform(24),
        TrainTransform(64, crop_scale=(0.05, 0.2), jitter=(0.4, 0.4, 0.4, 0.1)),
    ):
        with Loader(folder, 8, transform, workers=1) as a, Loader(pack, 8, transform, workers=2) as b:
            for epoch in range(2):
                assert [digest(x) for x in a.epoch(epoch)] == [digest(x) for x in b.epoch(epoch)]


def test_a_part_is_decoded_from_the_notes_and_not_by_a_scan(packed, monkeypatch):
    pack = Pack(packed)
    k = next(k for k in range(len(pack)) if "big0" in pack.path(k))
    monkeypatch.setattr(jpeg_region, "read_planes", None)
    got, top, left, _ = open_picture(pack.read(k), pack.notes(k)).pixels((100, 120, 60, 70))
    assert got.shape[0] < 150
    whole = Encoded(bytes(pack.read(k))).pixels()[0]
    assert np.array_equal(got[100 - top : 160 - top, 120 - left : 190 - left], whole[100:160, 120:190])


@pytest.mark.parametrize("form", ("raw", "jpeg"))
@pytest.mark.parametrize("side", ("short_side", "max_side"))
def test_pictures_can_be_shrunk_and_stored_as_pixels(photos, tmp_path, form, side):
    out = tmp_path / "small.pack"
    line = f"--data_path {photos} --out {out} --{side} 60 --format {form} --workers 1"
    assert main(line.split()) == 0
    folder, pack = ImageFolder(photos), Pack(out)
    for k in range(len(pack)):
        before, after = Encoded(folder.read(k)), open_picture(pack.read(k), pack.notes(k))
        want = shrink_to(before.height, before.width, 60 * (side == "short_side"), 60 * (side == "max_side"))
        assert (after.height, after.width) == want
        resized = cv2.resize(before.pixels()[0], want[::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(after.pixels()[0].astype(int) - resized).mean() < (0.5 if form == "raw" else 20)
    with Loader(pack, 8, TRAIN, workers=2) as loader:
        assert sum(len(batch) for batch in loader.epoch(0)) == 40


def test_verify_finds_a_changed_byte(packed, tmp_path, capsys):
    assert main(["--verify", str(packed)]) == 0
    data = bytearray(packed.read_bytes())
    data[int(Pack(packed)._offsets[7]) + 5] ^= 1
    (tmp_path / "bad.pack").write_bytes(data)
    assert main(["--verify", str(tmp_path / "bad.pack")]) == 1
    assert Pack(packed).names[7] in capsys.readouterr().err


def test_what_is_no_whole_pack_is_refused(packed, tmp_path, capsys):
    data = packed.read_bytes()
    other_version = data[:8] + struct.pack("<I", 99) + data[12:]
    changed_table = data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]
    for name, content, message in (("a", b"", "no pack"), ("b", b"x" * 100, "no pack"), ("c", data[:-1], "damaged"),
                                   ("d", changed_table, "damaged"), ("e", other_version, "version 99")):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            Pack(tmp_path / name)
    assert main(["--verify", str(tmp_path / "a")]) == 2


@pytest.mark.parametrize(
    "line, message",
    [
        ("--data_path x", "--data_path and --out are needed"),
        ("--verify x --out y", "--verify checks a pack and writes none"),
        ("--data_path x --out y --quality 50", "--quality 50: it is of JPEGs that --short_side or --max_side"),
        ("--data_path x --out y --short_side 9 --quality 0", "--quality is 1 to 100"),
        ("--data_path x --out /none/y", "--out /none/y: there is no folder /none"),
        ("--data_path /none --out y", "/none: no such folder"),
    ],
)
def test_a_line_that_cannot_work_is_one_line(line, message, capsys):
    try:
        code = main(line.split())
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err
    assert code == 2 and error.startswith(f"python -m launch.pack: {message}") and error.count("\n") == 1


@pytest.mark.parametrize("how", (signal.SIGINT, signal.SIGKILL))
def test_an_ended_pack_leaves_no_file_under_its_name(photos, tmp_path, how):
    slow = tmp_path / "slow" / "a"
    slow.mkdir(parents=True)
    for k, path in enumerate(sorted(photos.rglob("*.jpg"))[:3]):
        (slow / f"{k}.jpg").write_bytes(path.read_bytes())
    os.mkfifo(slow / "9.jpg")  # the pack waits here for ever
    out = tmp_path / "out.pack"
    command = [sys.executable, *f"-m launch.pack --data_path {slow.parent} --out {out} --workers 1".split()]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("out.pack.*.part")) and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    os.killpg(process.pid, how)
    process.wait(60)
    assert process.returncode != 0 and not out.exists()
    assert how == signal.SIGKILL or not list(tmp_path.glob("out.pack*"))
