"""Writes an image folder as one file, read faster and moved as one:  python -m launch.pack --data_path DIR --out FILE

By default every file keeps its bytes, so that the batches are those of the folder, bit for bit; --short_side,
--max_side and --format raw trade pixels for speed. python -m launch.pack --verify FILE checks every sample's
checksum.
"""

import multiprocessing
import os
import signal
import sys
import time

import cv2
import numpy as np
import simplejpeg

from cellwright.dataloader import BadImage, ImageFolder, Pack, PackWriter
from cellwright.dataloader.decode.jpeg_cut import pack_notes
from cellwright.dataloader.decode.picture import Encoded
from cellwright.dataloader.sources.pack import ENCODED, RAW
from cellwright.launch.settings.flag_parser import Parser
from cellwright.launch.settings.output_file import check_output

PROGRAM = "python -m launch.pack"
_QUALITY = 90
_work = {}


def shrink_to(height, width, short_side, max_side):
    """(height, width) after bringing the shorter side to `short_side` or the longer to `max_side`; never
    larger than before.
    """
    if short_side:
        factor = short_side / min(height, width)
    elif max_side:
        factor = max_side / max(height, width)
    else:
        factor = 1.0
    return (height, width) if factor >= 1 else (max(1, round(height * factor)), max(1, round(width * factor)))


def pack_sample(sample):
    """(bytes, notes, (height, width)) of a sample as it goes into the pack; a damaged file goes in as it is."""
    source, settings = _work["source"], _work["settings"]
    data = source.read(sample)
    if not settings.short_side and not settings.max_side and settings.format == "jpeg":
        return data, pack_notes(data), (0, 0)
    try:
        image = Encoded(data).pixels()[0]
    except BadImage:
        return data, b"", (0, 0)
    height, width = shrink_to(*image.shape[:2], settings.short_side, settings.max_side)
    if (height, width) != image.shape[:2]:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    elif settings.format == "jpeg":
        return data, pack_notes(data), (0, 0)  # small enough already: not encoded a second time
    if settings.format == "raw":
        return image.tobytes(), b"", (height, width)
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(image), settings.quality, colorsubsampling="420")
    return data, pack_notes(data), (0, 0)


def _start(source, settings):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    _work.update(source=source, settings=settings)


def write_pack(source, out, settings, report):
    """Writes all samples of `source`; `report(done, total, bytes)` is called now and then. Leaves nothing
    behind where it is interrupted.
    """
    pack_notes(simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8)))  # compiled once here and not once a worker
    total = len(source)
    writer = PackWriter(out, source.classes, RAW if settings.format == "raw" else ENCODED)
    try:
        with multiprocessing.get_context("fork").Pool(settings.workers, _start, (source, settings)) as pool:
            written = 0
            for sample, (data, notes, size) in enumerate(pool.imap(pack_sample, range(total), chunksize=16)):
                name = os.path.relpath(source.path(sample), source.root)
                writer.add(name, source.label(sample), data, notes, size)
                written += len(data) + len(notes)
                report(sample + 1, total, written)
        writer.finish()
    except BaseException:
        writer.discard()
        raise


def verify_pack(path, report):
    """The paths of the samples whose checksum does not hold."""
    pack, bad = Pack(path), []
    for sample in range(len(pack)):
        if not pack.intact(sample):
            bad.append(pack.path(sample))
        report(sample + 1, len(pack), 0)
    return bad


class Progress:
    """A line on standard error, at most five times a second, with the time that is left."""

    def __init__(self, what):
        self.what, self.began, self.shown = what, time.monotonic(), 0.0

    def __call__(self, done, total, written):
        now = time.monotonic()
        if done < total and now - self.shown < 0.2:
            return
        self.shown = now
        spent = now - self.began
        left = spent / done * (total - done)
        size = f", {written / 2**20:.1f} MiB" if written else ""
        end = "\n" if done == total else ""
        share, speed = 100 * done // total, done / max(spent, 1e-9)
        line = f"\r{self.what} {done}/{total} ({share} %){size}, {speed:.0f}/s, {left:.0f} s left "
        print(line, end=end, file=sys.stderr, flush=True)


def parse(arguments):
    parser = Parser(prog=PROGRAM, description=__doc__.partition(":  ")[0])
    parser.add_argument("--data_path", metavar="DIR", help="folder with one folder a class")
    parser.add_argument("--out", metavar="FILE", help="the pack to write")
    parser.add_argument("--short_side", type=int, default=0, metavar="N", help="shrink the shorter side to N pixels")
    parser.add_argument("--max_side", type=int, default=0, metavar="N", help="shrink the longer side to N pixels")
    parser.add_argument("--format", choices=("jpeg", "raw"), default="jpeg", help="raw keeps decoded pixels")
    parser.add_argument("--quality", type=int, metavar="Q", help=f"of JPEGs that are shrunk (default: {_QUALITY})")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--workers", type=int, default=cores, metavar="N", help="processes (default: as many as cores)")
    parser.add_argument("--verify", metavar="FILE", help="check a pack and write nothing")
    settings = parser.parse_args(arguments)
    if settings.verify and (settings.data_path or settings.out):
        parser.error("--verify checks a pack and writes none: without --data_path and --out")
    if not settings.verify and not (settings.data_path and settings.out):
        parser.error("--data_path and --out are needed, or --verify")
    if settings.short_side and settings.max_side:
        parser.error("--short_side and --max_side exclude each other")
    shrunk = settings.short_side or settings.max_side
    if settings.quality is not None and (settings.format == "raw" or not shrunk):
        parser.error(f"--quality {settings.quality}: it is of JPEGs that --short_side or --max_side makes smaller")
    if settings.quality is None:
        settings.quality = _QUALITY
    if not 1 <= settings.quality <= 100 or settings.short_side < 0 or settings.max_side < 0 or settings.workers < 1:
        parser.error("--quality is 1 to 100, sides are 0 and more, --workers at least 1")
    return settings


def main(arguments=None):
    """Runs the command line; returns the exit status."""
    settings = parse(arguments)
    try:
        if settings.verify:
            bad = verify_pack(settings.verify, Progress("verified"))
            for path in bad:
                print(f"damaged: {path}", file=sys.stderr)
            return 1 if bad else 0
        check_output("--out", settings.out)
        write_pack(ImageFolder(settings.data_path), settings.out, settings, Progress("packed"))
    except (ValueError, OSError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{PROGRAM}: interrupted, nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
