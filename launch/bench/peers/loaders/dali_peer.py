"""NVIDIA DALI on the processor: it too decodes the crop's part alone."""

import numpy as np


def batches(work):
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=work.batch, num_threads=work.workers, device_id=None)
    def pipeline():
        files, _ = fn.readers.file(file_root=work.folder, random_shuffle=True)
        crop = {"random_area": work.area, "random_aspect_ratio": work.ratio}
        images = fn.decoders.image_random_crop(files, device="cpu", output_type=types.RGB, **crop)
        size = {"resize_x": work.side, "resize_y": work.side}
        images = fn.resize(images, **size, interp_type=types.INTERP_LINEAR, antialias=False)
        mirror = fn.random.coin_flip()
        if work.jitter:
            spread = (1 - work.amount, 1 + work.amount)
            draws = {name: fn.random.uniform(range=spread) for name in ("brightness", "contrast", "saturation")}
            images = fn.color_twist(images, **draws)
        if work.floats:
            return fn.crop_mirror_normalize(images, mean=work.mean, std=work.std, mirror=mirror, output_layout="CHW")
        return fn.flip(images, horizontal=mirror)

    running = pipeline()
    running.build()
    while True:
        (images,) = running.run()
        yield np.asarray(images.as_tensor())
