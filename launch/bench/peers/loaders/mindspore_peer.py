"""mindspore.dataset, with the operations that the originals of the networks use."""


def batches(work):
    import mindspore.dataset as ds
    from mindspore.dataset import vision

    data = ds.ImageFolderDataset(work.folder, num_parallel_workers=work.workers, shuffle=True)
    steps = [vision.RandomCropDecodeResize(work.side, work.area, work.ratio), vision.RandomHorizontalFlip(0.5)]
    if work.jitter:
        steps.append(vision.RandomColorAdjust(work.amount, work.amount, work.amount))
    if work.floats:
        steps += [vision.Normalize(work.mean, work.std), vision.HWC2CHW()]
    data = data.map(steps, "image", num_parallel_workers=work.workers)
    iterator = data.batch(work.batch, drop_remainder=True).create_dict_iterator(num_epochs=-1, output_numpy=True)
    while True:
        for batch in iterator:
            yield batch["image"]
