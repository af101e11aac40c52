"""One run of a speedrun by PyTorch; prints a report as its last line.

Run as a file, by an interpreter that has torch and numpy; it need not have anything of this project:

    python launch/speedrun/torch_peer.py JOB, where JOB is JSON
"""

import json
import os
import sys
import time

import torch
from images import read_records  # beside this file
from recipe import MEAN, STD, Recipe, process_seconds
from torch import nn
from torch.nn import functional

WARM_STEPS, TIMED_STEPS = 3, 8


class ConvNorm(nn.Sequential):
    def __init__(self, before, after, kernel_size, stride=1, padding=0):
        conv = nn.Conv2d(before, after, kernel_size, stride, padding, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        super().__init__(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class Stage(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.down = ConvNorm(before, after, 3, 2, 1)
        self.inner = nn.Sequential(ConvNorm(after, after, 3, 1, 1), ConvNorm(after, after, 3, 1, 1))

    def forward(self, x):
        x = self.down(x)
        return x + self.inner(x)


def build(widths):
    stages = [Stage(before, after) for before, after in zip(widths, widths[1:])]
    head = nn.Linear(widths[-1], 10)
    nn.init.zeros_(head.bias)
    return nn.Sequential(ConvNorm(3, widths[0], 5), *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


class Images:
    """The images of a split in memory; batches are shifted, mirrored and normalised here."""

    def __init__(self, job, split, padding):
        records = torch.from_numpy(read_records(job["data_path"], split, job["tune"]))
        self.labels, self.padding = records[:, 0].long(), padding
        self.pixels = records[:, 1:].reshape(-1, 3, 32, 32)
        self.format = torch.channels_last if "channels_last" in job["variant"] else torch.contiguous_format

    def taken(self, ids):
        return self._normalised(self.pixels[ids]), self.labels[ids]

    def drawn(self, ids):
        """The images `ids`, each shifted with black beyond the border and mirrored by chance."""
        count, most = len(ids), 2 * self.padding + 1
        framed = functional.pad(self.pixels[ids], (self.padding,) * 4)
        rows, columns = (torch.randint(0, most, (count, 1)) + torch.arange(32) for _ in range(2))
        columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
        sample = torch.arange(count).view(-1, 1, 1)
        cut = framed.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]]
        return self._normalised(cut.permute(0, 3, 1, 2)), self.labels[ids]

    def _normalised(self, pixels):
        return ((pixels.float() - MEAN) / STD).contiguous(memory_format=self.format)


class Training:
    """Network, optimizer and one step of a variant."""

    def __init__(self, variant, recipe):
        self.network, self.half, self.smooth = build(recipe.widths), "bfloat16" in variant, recipe.smooth
        if "channels_last" in variant:
            self.network = self.network.to(memory_format=torch.channels_last)
        weights = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim == 1]
        groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=True)
        self.run = torch.compile(self.network) if "compiled" in variant else self.network

    def step(self, images, labels, rate):
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            logits = self.run(images)
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=self.smooth)
        loss.backward()
        self.optimizer.step()
        return loss

    def correct(self, held_back, size):
        """How many images are named right, by the sum of the logits for both mirrorings."""
        self.network.eval()
        right, count = [], len(held_back.labels)
        padded = torch.arange(-(-count // size) * size).clamp(max=count - 1)  # a smaller batch would compile again
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            for ids in padded.split(size):
                images, labels = held_back.taken(ids)
                logits = self.run(images).float() + self.run(images.flip(3)).float()
                right.append(logits.argmax(1) == labels)
        return int(torch.cat(right)[:count].sum())


def train(job, recipe):
    """Trains and evaluates; returns what `ours.train` does, and the seconds of the quickest step if it only warms."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(job["seed"])
    training, held_back = (Images(job, split, recipe.padding) for split in ("train", "test"))
    runner, size = Training(job["variant"], recipe), recipe.batch_size
    per_epoch = len(training.labels) // size
    marks, times, steps = [process_seconds()], [], recipe.epochs * per_epoch
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(training.labels))[: per_epoch * size]
        for ids in order.split(size):
            began = time.perf_counter()
            loss = runner.step(*training.drawn(ids), recipe.rate(len(times), steps))
            times.append(time.perf_counter() - began)
            if job["warm"] and len(times) == WARM_STEPS + TIMED_STEPS:
                break
        sys.stderr.write(f"epoch {epoch + 1}: loss {loss.item():.4f}, {process_seconds():.1f} s\n")
        if job["warm"]:
            break
    marks.append(process_seconds())
    top1 = 100 * runner.correct(held_back, size) / len(held_back.labels)
    return top1, [*marks, process_seconds()], min(times[WARM_STEPS:], default=times[-1])


def main():
    job = json.loads(sys.argv[1])
    top1, marks, step = train(job, Recipe(**job["recipe"]))
    found = {"top1": top1, "marks_s": marks, "step_s": step, "torch": torch.__version__}
    print(json.dumps({**found, "seconds": process_seconds()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
