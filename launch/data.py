"""The images of a run: from the paths that were typed to sources and loaders."""

from pathlib import Path

from cellwright.dataloader import Cifar10, EvalTransform, ImageFolder, ListFile, Loader, Pack, TrainTransform
from cellwright.dataloader.sources.pack import MAGIC as PACK_MAGIC
from cellwright.launch.settings.embedded import embedded_dataset


def open_sources(settings, index_folder=None, train=True):
    """Returns (training source, held-back source or None) for RunSettings; the first is None with train=False.

    imagenet2012: `data_path` holds train/ and val/, or is the training split itself: a folder of class folders, a pack, or a list
    file; `val_data_path` names the other split. cifar10: `data_path` holds cifar-10-batches-bin and cifar-10-verify-bin. No data_path: the embedded images.
    ValueError for a path that does not hold what the data set needs.
    """
    root = Path(settings.data_path) if settings.data_path else embedded_dataset()
    if not root.exists():
        raise ValueError(f"--data_path {root}: no such file or folder")
    held_back = Path(settings.val_data_path) if settings.val_data_path else None
    if settings.dataset == "cifar10":
        return (Cifar10(root, "train") if train else None), _cifar_held_back(held_back, root, train)
    split = root / "train" if (root / "train").is_dir() else root
    if held_back is None and (root / "val").is_dir():
        held_back = root / "val"
    if held_back is None and not train:
        held_back = root
    training = _open_split(split, index_folder, "train") if train else None
    validation = _open_split(held_back, index_folder, "val") if held_back else None
    if training and validation and list(training.classes) != list(validation.classes):
        odd = sorted(set(training.classes) ^ set(validation.classes))
        raise ValueError(f"{split} and {held_back} do not hold the same classes: {', '.join(odd[:5])}")
    return training, validation


def _open_split(path, index_folder, name):
    if path.is_dir():
        return ImageFolder(path, Path(index_folder) / f"{name}.npy" if index_folder else None)
    if not path.is_file():
        raise ValueError(f"{path}: no such file or folder")
    with open(path, "rb") as file:
        is_pack = file.read(len(PACK_MAGIC)) == PACK_MAGIC
    return Pack(path) if is_pack else ListFile(path)


def _cifar_held_back(held_back, root, train):
    try:
        return Cifar10(held_back or root, "eval")
    except ValueError:
        if held_back or not train:
            raise
        return None  # training without a held-back split


def train_loader(source, recipe, settings, world, **options):
    """Returns the Loader of this rank's share of the shuffled, augmented training images."""
    transform = TrainTransform(
        image_size=recipe.image_size,
        crop=recipe.crop,
        crop_scale=recipe.crop_scale,
        crop_ratio=recipe.crop_ratio,
        pad=recipe.crop_padding,
        flip=recipe.flip,
        jitter=recipe.jitter,
        cutout=recipe.cutout,
    )
    if len(source) < recipe.batch_size * world.size:
        raise ValueError(
            f"{len(source)} training images do not fill one batch of --batch_size {recipe.batch_size} on {world.size} ranks"
        )
    return Loader(source, recipe.batch_size, transform, **_share(settings, world), **options)


def eval_loader(source, recipe, settings, world, **options):
    """Returns the Loader of this rank's share of the held-back images: each exactly once, the last batch padded."""
    transform = EvalTransform(recipe.image_size, recipe.eval_resize, recipe.eval_resize_size)
    return Loader(source, recipe.batch_size, transform, **_share(settings, world), **options)


def _share(settings, world):
    return {"seed": settings.seed, "rank": world.rank, "size": world.size, "workers": settings.workers}
