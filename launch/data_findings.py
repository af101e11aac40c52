"""The doctor's findings on images: what is unusable, skipped, twice there or labelled in two ways, with counts."""

import hashlib
import os
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cellwright.dataloader import BadImage
from cellwright.dataloader.decode.picture import open_picture
from cellwright.launch.host.finding import Finding

_SHOWN = 10
_KIND_OF_ENDING = {"jpg": "jpeg", "jpe": "jpeg", "tif": "tiff"}
_BEGINNINGS = (
    (b"\xff\xd8", "jpeg"),
    (b"\x89PNG", "png"),
    (b"BM", "bmp"),
    (b"RIFF", "webp"),
    (b"GIF8", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"\0\0\0\x0cjP", "jp2"),
)


@dataclass(frozen=True)
class Looked:
    """What one sample is: digest of its bytes, kind of its content, and why it cannot be used ("" where it can)."""

    digest: bytes
    kind: str
    trouble: str


def look_at(source, sample):
    """Reads and decodes a sample as training would; returns its Looked."""
    digest, kind = b"", ""
    try:
        data = source.read(sample)
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if isinstance(data, bytes):
            kind = next((kind for beginning, kind in _BEGINNINGS if data.startswith(beginning)), "")
        open_picture(data, source.notes(sample)).pixels()
    except (BadImage, OSError) as error:
        return Looked(digest, kind, " ".join(str(getattr(error, "strerror", None) or error).split())[:160])
    return Looked(digest, kind, "")


def check_images(splits, max_bad=0.001, threads=None):
    """Returns the Findings on {name of a split: Source}, each file read and decoded once.

    max_bad: the share of unusable files at which training ends. threads: how many decode at a time.
    """
    found, seen = [], {}
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        for name, source in splits.items():
            source.prepare()
            looked = list(pool.map(lambda sample, source=source: look_at(source, sample), range(len(source))))
            found += [
                *_counts(name, source),
                *_unusable(name, source, looked, max_bad),
                *_endings(name, source, looked),
            ]
            seen[name] = looked
    return found + _twice(splits, seen)


def _counts(name, source):
    by_class = Counter(source.labels.tolist())
    sizes = [by_class[label] for label in range(len(source.classes))]
    few, many = min(sizes), max(sizes)
    line = f"{name}: {len(source):,} images in {len(source.classes)} classes, {few:,} to {many:,} a class"
    found = [Finding("OK", line)]
    if not few:
        empty = [source.classes[label] for label, size in enumerate(sizes) if not size]
        found.append(
            Finding("WARN", f"{name}: {len(empty)} classes without an image: {_listed(empty)}", "add or remove them")
        )
    if source.skipped:
        fix = "hidden files and folders are left alone; convert other pictures to JPEG or PNG"
        found.append(Finding("WARN", f"{name}: skipped {source.skipped_line()}", fix))
    names = list(source.classes)
    if all(part.isdigit() for part in names) and names != sorted(names, key=int):
        order = f"{name}: classes are in the order of text: {', '.join(names[:4])}, ..."
        found.append(Finding("WARN", order, "--sort_classes number sorts them by their value"))
    return found


def _unusable(name, source, looked, max_bad):
    bad = [(source.path(sample), one.trouble) for sample, one in enumerate(looked) if one.trouble]
    if not bad:
        return [Finding("OK", f"{name}: every file can be read and decoded")]
    level = "FAIL" if len(bad) > max_bad * len(looked) else "WARN"
    lines = _listed([f"{path}: {trouble}" for path, trouble in bad], "\n        ")
    share = f"{len(bad):,} of {len(looked):,} files cannot be used ({100 * len(bad) / len(looked):.2f} %)"
    fix = "repair or remove them" + (f"; --max_bad {max_bad:g} ends a run with so many" if level == "FAIL" else "")
    return [Finding(level, f"{name}: {share}:\n        {lines}", fix)]


def _endings(name, source, looked):
    """Files whose content is not what their ending says: read all the same, by content."""
    wrong = []
    for sample, one in enumerate(looked):
        ending = os.path.splitext(source.path(sample))[1][1:].lower()
        if one.kind and ending and _KIND_OF_ENDING.get(ending, ending) != one.kind:
            wrong.append(f"{source.path(sample)} is {one.kind}")
    if not wrong:
        return []
    return [
        Finding(
            "WARN", f"{name}: {len(wrong):,} files with another ending than content: {_listed(wrong)}", "rename them"
        )
    ]


def _twice(splits, seen):
    """Pictures that are there more than once: with two labels, in two splits, or simply twice."""
    places = defaultdict(list)
    for name, looked in seen.items():
        for sample, one in enumerate(looked):
            if one.digest and not one.trouble:
                places[one.digest].append((name, sample))
    found, twice = [], [group for group in places.values() if len(group) > 1]

    def class_of(place):
        name, sample = place
        return splits[name].classes[splits[name].label(sample)]

    def told(groups):
        return _listed(
            [" = ".join(splits[name].path(sample) for name, sample in group[:3]) for group in groups], "\n        "
        )

    labelled = [group for group in twice if len({class_of(place) for place in group}) > 1]
    leaked = [group for group in twice if len({name for name, _ in group}) > 1]
    again = [group for group in twice if group not in labelled and group not in leaked]
    if labelled:
        what = f"{len(labelled):,} pictures have two labels:\n        {told(labelled)}"
        found.append(Finding("WARN", what, "one of the two is wrong: decide"))
    if leaked:
        what = f"{len(leaked):,} pictures are in training and held back:\n        {told(leaked)}"
        found.append(Finding("WARN", what, "what was trained on says nothing about new pictures: take them out of one"))
    if again:
        what = f"{len(again):,} pictures are there more than once under one label: {told(again[:2])}"
        found.append(Finding("WARN", what, "they count more than others"))
    return found


def _listed(items, separator=", "):
    items = list(items)
    more = f"{separator}and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return separator.join(items[:_SHOWN]) + more
