"""SPDL's pipeline of threads, with OpenCV's decoder and resize in it."""

import random
from pathlib import Path

import numpy as np


def batches(work):
    import cv2
    from spdl.pipeline import PipelineBuilder

    cv2.setNumThreads(0)
    files = [str(path) for path in Path(work.folder).rglob("*.jpg")]
    scale = 1 / np.array(work.std, np.float32)
    shift = -np.array(work.mean, np.float32) * scale

    def endless():
        while True:
            yield from random.sample(files, len(files))

    def make(path):
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB)
        top, left, height, width = random_box(*image.shape[:2], work.area, work.ratio)
        part = image[top : top + height, left : left + width]
        image = cv2.resize(part, (work.side, work.side), interpolation=cv2.INTER_LINEAR)
        if random.random() < 0.5:
            image = cv2.flip(image, 1)
        if not work.floats:
            return image
        # Plane by plane: as one expression on (H, W, 3) it takes 25 times as long.
        planes = np.empty((3, work.side, work.side), np.float32)
        for k, plane in enumerate(cv2.split(image)):
            np.multiply(plane, scale[k], out=planes[k])
            planes[k] += shift[k]
        return planes

    builder = PipelineBuilder().add_source(endless()).pipe(make, concurrency=work.workers)
    builder = builder.aggregate(work.batch).pipe(np.stack).add_sink(2)
    pipeline = builder.build(num_threads=work.workers)
    with pipeline.auto_stop():
        yield from pipeline


def random_box(height, width, area, ratio):
    """(top, left, height, width) of the random resized crop."""
    for _ in range(10):
        pixels = height * width * random.uniform(*area)
        aspect = np.exp(random.uniform(*np.log(ratio)))
        w, h = round((pixels * aspect) ** 0.5), round((pixels / aspect) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, height - h), random.randint(0, width - w), h, w
    return 0, 0, height, width
