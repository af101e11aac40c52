"""torchvision's transforms on Pillow's images, as its own training script has them, in the processes of PyTorch's
DataLoader.
"""


def batches(work):
    import torch
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = [v2.RandomResizedCrop(work.side, work.area, work.ratio), v2.RandomHorizontalFlip()]
    if work.jitter:
        steps.append(v2.ColorJitter(work.amount, work.amount, work.amount))
    steps.append(v2.PILToTensor())
    if work.floats:
        mean, std = ([value / 255 for value in values] for values in (work.mean, work.std))
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    data = ImageFolder(work.folder, v2.Compose(steps))
    endless = torch.utils.data.RandomSampler(data, replacement=True, num_samples=10**9)
    for images, _ in torch.utils.data.DataLoader(data, work.batch, sampler=endless, num_workers=work.workers):
        yield images
