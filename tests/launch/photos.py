"""Small folders of photos for the commands to train on."""

import shutil

from cellwright.launch.settings.embedded_images import CLASSES, embedded_dataset


def photos_of(folder, names=CLASSES[:3], first=0, count=24, splits=("train", "val")):
    """Returns the folder, in it splits of a class folder for each name, of so many images of one class each."""
    source = embedded_dataset()
    for split in splits:
        for name, origin in zip(names, sorted((source / split).iterdir())):
            (folder / split / name).mkdir(parents=True)
            for path in sorted(origin.iterdir())[first : first + count]:
                shutil.copy(path, folder / split / name)
    return folder
