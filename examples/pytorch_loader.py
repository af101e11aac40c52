"""Our loader feeds PyTorch: batches are views of shared memory, float32 NCHW and normalised, and none is copied."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from cellwright.dataloader import ImageFolder, Loader, TorchBatches, TrainTransform, start_forkserver


def write_pictures(folder):
    draw = np.random.default_rng(0)
    for name, colour in (("blue", 0), ("green", 1), ("red", 2)):
        for number in range(8):
            image = draw.integers(0, 120, (40, 50, 3)).astype(np.uint8)
            image[..., colour] += 120
            path = Path(folder, name, f"{number}.jpg")
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), image)


def main():
    start_forkserver()
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(folder)
        normalise = ((110.0,) * 3, (60.0,) * 3)
        with Loader(
            ImageFolder(folder), 8, TrainTransform(32), workers=2, output="float32", normalise=normalise
        ) as loader:
            model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 3))
            optimizer = torch.optim.SGD(model.parameters(), 0.3)
            batches = torch.utils.data.DataLoader(TorchBatches(loader), batch_size=None)  # the workers are the loader's
            for _ in range(15):
                for images, labels, _ in batches:
                    loss = torch.nn.functional.cross_entropy(model(images), labels)
                    optimizer.zero_grad(), loss.backward(), optimizer.step()
            print("loss", loss.item())
            assert loss.item() < 0.7


if __name__ == "__main__":
    main()
