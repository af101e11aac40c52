"""The images of a run: from the paths that were typed to sources and loaders."""

import hashlib
import os
from pathlib import Path

from cellwright.dataloader import Cifar10, ImageFolder, ListFile, Loader, Pack
from cellwright.dataloader.sources.pack import MAGIC as PACK_MAGIC
from cellwright.launch.settings.embedded_images import embedded_dataset
from cellwright.launch.settings.transforms import eval_transform, train_transform


def open_sources(settings, train=True):
    """Returns (training source, held-back source or None) for RunSettings; the first is None with train=False.

    imagenet2012: `data_path` holds train/ and val/, or is the training split itself: a folder of class folders, a pack,
    or a list file; `val_data_path` names the other split, else it is the val/ beside train/. cifar10: `data_path` holds
    cifar-10-batches-bin and cifar-10-verify-bin. No data_path: the embedded images. With train=False a path without a
    val/ is the held-back split itself. ValueError for a path that does not hold what the data set needs.
    """
    root = Path(settings.data_path) if settings.data_path else embedded_dataset()
    try:
        if not root.exists():
            raise ValueError(f"--data_path {root}: no such file or folder")
        held_back = Path(settings.val_data_path) if settings.val_data_path else None
        if settings.dataset == "cifar10":
            return (Cifar10(root, "train") if train else None), _cifar_held_back(held_back, root, train)
        return _open_splits(root, held_back, settings.sort_classes, train)
    except OSError as error:
        raise ValueError(f"--data_path {error.filename or root}: {error.strerror}") from None


def _open_splits(root, held_back, order, train):
    split = root / "train" if (root / "train").is_dir() else root
    places = [root, split.parent] if split.name == "train" else [root]
    if held_back is None:
        held_back = next((place / "val" for place in places if (place / "val").is_dir()), None if train else root)
        if held_back == root and split != root:
            raise ValueError(f"{root} holds train/ and no val/: --val_data_path names the held-back images")
    training = _open_split(split, order) if train else None
    validation = _open_split(held_back, order, training.classes if training else None) if held_back else None
    if training and validation and list(training.classes) != list(validation.classes):
        odd = sorted(set(training.classes) ^ set(validation.classes))
        raise ValueError(f"{split} and {held_back} do not hold the same classes: {', '.join(odd[:5])}")
    return training, validation


def _open_split(path, order, classes=None):
    """classes: those of the training split, whose numbers a list file has."""
    if path.is_dir():
        return ImageFolder(path, _listing(path), sort_classes=order)
    if not path.is_file():
        raise ValueError(f"{path}: no such file or folder")
    if order == "number":
        raise ValueError(f"--sort_classes number: {path} is no folder, its classes have their order")
    with open(path, "rb") as file:
        is_pack = file.read(len(PACK_MAGIC)) == PACK_MAGIC
    try:
        return Pack(path) if is_pack else ListFile(path, classes=classes)
    except UnicodeDecodeError:
        raise ValueError(f"--data_path {path}: neither a folder, nor a pack, nor a list file") from None


def _listing(path):
    """The file that keeps a folder's listing for the next start, or None where none can be kept."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "cellwright" / "listings"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(folder, os.W_OK):
        return None
    return folder / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]}.npy"


def _cifar_held_back(held_back, root, train):
    try:
        return Cifar10(held_back or root, "eval")
    except ValueError:
        if held_back or not train:
            raise
        return None  # training without a held-back split


def train_loader(source, recipe, settings, world, **options):
    """Returns the Loader of this rank's share of the shuffled, augmented training images."""
    if len(source) < recipe.batch_size * world.size:
        raise ValueError(
            f"{len(source)} training images do not fill one batch of --batch_size {recipe.batch_size} "
            f"on {world.size} {'rank' if world.size == 1 else 'ranks'}"
        )
    share = _share(settings, world)
    return Loader(source, recipe.batch_size, train_transform(recipe), classes=recipe.num_classes, **share, **options)


def eval_loader(source, recipe, settings, world, **options):
    """Returns the Loader of this rank's share of the held-back images: each exactly once, the last batch padded."""
    return Loader(source, recipe.batch_size, eval_transform(recipe), **_share(settings, world), **options)


def _share(settings, world):
    return {"seed": settings.seed, "rank": world.rank, "size": world.size, "workers": settings.workers}
