"""torchvision's transforms on decoded tensors, in the processes of PyTorch's DataLoader."""


def read(path):
    from torchvision import io

    return io.decode_jpeg(io.read_file(path))


def batches(work):
    import torch
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = [v2.RandomResizedCrop(work.side, work.area, work.ratio, antialias=False), v2.RandomHorizontalFlip()]
    if work.jitter:
        steps.append(v2.ColorJitter(work.amount, work.amount, work.amount))
    if work.floats:
        mean, std = ([value / 255 for value in values] for values in (work.mean, work.std))
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    data = ImageFolder(work.folder, v2.Compose(steps), loader=read)
    endless = torch.utils.data.RandomSampler(data, replacement=True, num_samples=10**9)
    loader = torch.utils.data.DataLoader(data, work.batch, sampler=endless, num_workers=work.workers)
    for images, _ in loader:
        yield images
