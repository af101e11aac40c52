"""FFCV on its raw format: decoded pictures, 256 pixels the shorter side, mapped from a file."""

import tempfile
from pathlib import Path

import numpy as np

REPEATS = 50  # of the samples in an epoch, so that few batches wait for the start of one


class Pictures:
    """The pictures below a folder, shrunk, and class 0."""

    def __init__(self, folder):
        self.files = sorted(Path(folder).rglob("*.jpg"))

    def __len__(self):
        return len(self.files)

    def __getitem__(self, k):
        import cv2

        image = cv2.imread(str(self.files[k]), cv2.IMREAD_COLOR)[..., ::-1]
        scale = 256 / min(image.shape[:2])
        return np.ascontiguousarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)), 0


def batches(work):
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, ToTensor, ToTorchImage
    from ffcv.writer import DatasetWriter

    pictures = Pictures(work.folder)
    steps = [RandomResizedCropRGBImageDecoder((work.side, work.side), work.area, work.ratio), RandomHorizontalFlip()]
    if work.floats:
        steps.append(NormalizeImage(np.array(work.mean), np.array(work.std), np.float32))
    steps += [ToTensor(), ToTorchImage()]  # channels last, its default and quicker
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/pictures.beton"
        fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
        DatasetWriter(file, fields, num_workers=work.workers).from_indexed_dataset(pictures)
        loader = Loader(
            file,
            work.batch,
            num_workers=work.workers,
            order=OrderOption.RANDOM,
            indices=np.tile(np.arange(len(pictures)), REPEATS),
            pipelines={"image": steps, "label": None},
        )
        while True:
            for (images,) in loader:
                yield images
