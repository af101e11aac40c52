"""What config.yaml and every checkpoint keep of the images, class names and digests; and the comparison."""

import hashlib
import os
import zlib
from pathlib import Path

from cellwright.dataloader import Cifar10, ImageFolder
from cellwright.dataloader.sources.source import PathList


def data_record(training, held_back):
    """Returns {"classes": names by label, "training": split, "held_back": split or None} of two sources.

    A split is {"images": how many, "digest": 16 hexadecimal digits}.
    """
    classes = (training or held_back).classes
    return {"classes": list(classes), "training": split_record(training), "held_back": split_record(held_back)}


def split_record(source):
    """Returns {"images", "digest"} of a source, or None for None. The digest is over file names and labels (CIFAR-10:
    the bytes of the records), so a folder and its pack have the same.
    """
    if source is None:
        return None
    digest = hashlib.sha256(source.labels.tobytes())
    if isinstance(source, Cifar10):
        for file in source.files:
            digest.update(zlib.crc32(Path(file).read_bytes()).to_bytes(4, "little"))
    else:
        names = source.names
        if not isinstance(source, ImageFolder):
            names = PathList.pack(os.path.basename(names[sample]) for sample in range(len(source)))
        digest.update(names.blob.tobytes())
        digest.update(names.offsets.tobytes())
    return {"images": len(source), "digest": digest.hexdigest()[:16]}


def same_classes(recorded, classes):
    """Returns whether two lists of class names agree; those of a list file are numbers and stand for any names."""
    recorded, classes = list(recorded), list(classes)
    numbers = [str(place) for place in range(len(recorded))]
    return recorded == classes or (len(recorded) == len(classes) and numbers in (recorded, classes))


def check_classes(recorded, classes, trained, here):
    """Raises ValueError where the class names `recorded` by what was `trained` are not the `classes` found `here`."""
    if same_classes(recorded, classes):
        return
    place = next((k for k, (a, b) in enumerate(zip(recorded, classes)) if a != b), min(len(recorded), len(classes)))
    names = [repr(names[place]) if place < len(names) else "none" for names in (recorded, list(classes))]
    raise ValueError(
        f"{here} has other classes than {trained} was trained on ({len(classes)} for {len(recorded)}): "
        f"class {place} is {names[1]} and was {names[0]}"
    )


def check_resumed(recorded, record, folder, data_path):
    """Raises ValueError where the images of a run that goes on are not those that it was `recorded` with."""
    here = f"--data_path {data_path}" if data_path else "the embedded data set"
    check_classes(recorded["classes"], record["classes"], folder, here)
    before, now = recorded["training"], record["training"]
    if before["digest"] != now["digest"]:
        raise ValueError(
            f"{here} holds other training images than {folder} began with ({now['images']} for {before['images']}): "
            f"to train its weights on these, start a new run with --pretrained {folder}"
        )
