"""The four networks in PyTorch, and the time of a training step with them: what `launch.bench step` is compared with.

Run by an interpreter that has torch; it need not have anything of this project:

    python launch/bench/peers/torch_peer.py --net densenet121 --variant channels_last --batch 16 --size 224 --steps 5
"""

import argparse
import json
import resource
import statistics
import sys
import time

sys.path.pop(0)  # this folder, whose profile.py torch would take for the standard library's

import torch
from torch import nn
from torch.nn import functional


class Same(nn.Module):
    """A window operation with TensorFlow's `same` padding: the odd row and column go to the bottom and right."""

    def __init__(self, operation, kernel, stride, value=0.0):
        super().__init__()
        self.operation, self.kernel, self.stride, self.value = operation, kernel, stride, value

    def forward(self, x):
        pads = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return self.operation(functional.pad(x, pads, value=self.value) if any(pads) else x)


def conv(before, after, kernel, stride=1, bias=False):
    if stride == 1:
        return nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=bias)
    return Same(nn.Conv2d(before, after, kernel, stride, bias=bias), kernel, stride)


def max_pool_same(kernel, stride):
    return Same(nn.MaxPool2d(kernel, stride), kernel, stride, float("-inf"))


class DenseLayer(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(inplace=True), conv(channels, 128, 1),
            nn.BatchNorm2d(128), nn.ReLU(inplace=True), conv(128, 32, 3),
        )  # fmt: skip

    def forward(self, x):
        return torch.cat((x, self.layers(x)), 1)


def densenet121(classes):
    cells = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), max_pool_same(3, 2)]
    channels = 64
    for block, depth in enumerate((6, 12, 24, 16)):
        cells += [DenseLayer(channels + 32 * k) for k in range(depth)]
        channels += 32 * depth
        if block < 3:
            cells += [
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
                conv(channels, channels // 2, 1),
                nn.MaxPool2d(2),
            ]
            channels //= 2
    cells += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*cells, nn.Linear(channels, classes))


def tinydarknet(classes):
    plan = (
        (16, 3), "M", (32, 3), "M", (16, 1), (128, 3), (16, 1), (128, 3), "M",
        (32, 1), (256, 3), (32, 1), (256, 3), "M",
        (64, 1), (512, 3), (64, 1), (512, 3), (128, 1), (classes, 1),
    )  # fmt: skip
    cells, channels = [], 3
    for step in plan:
        if step == "M":
            cells.append(nn.MaxPool2d(2, ceil_mode=True))
            continue
        cells += [conv(channels, *step), nn.BatchNorm2d(step[0], eps=1e-3), nn.LeakyReLU(0.2, inplace=True)]
        channels = step[0]
    return nn.Sequential(*cells, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Bottleneck(nn.Module):
    def __init__(self, before, channels, stride, extent, extra, mlp, halve_first):
        super().__init__()
        after = 4 * channels
        self.branch = nn.Sequential(
            conv(before, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            conv(channels, channels, 3, stride), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            conv(channels, after, 1), nn.BatchNorm2d(after),
        )  # fmt: skip
        self.down = None
        if stride != 1 or before != after:
            self.down = nn.Sequential(conv(before, after, 1, stride), nn.BatchNorm2d(after))
        gather = [nn.AdaptiveAvgPool2d(1)]
        if extra:
            gather = [conv(after, after, 3, 2), nn.BatchNorm2d(after)] if halve_first else []
            extent = -(-extent // 2) if halve_first else extent
            gather += [nn.Conv2d(after, after, extent, groups=after, bias=False), nn.BatchNorm2d(after)]
        if mlp:
            gather += [conv(after, after // 16, 1), nn.ReLU(inplace=True), conv(after // 16, after, 1)]
        self.gate = nn.Sequential(*gather)

    def forward(self, x):
        out = self.branch(x)
        return functional.relu(out * torch.sigmoid(self.gate(out)) + (x if self.down is None else self.down(x)))


def genet(classes, extra=True, mlp=True, size=224):
    cells = [conv(3, 64, 7, 2), nn.BatchNorm2d(64, eps=1e-4), nn.ReLU(inplace=True), max_pool_same(3, 2)]
    before, extent = 64, -(-size // 4)
    for stage, depth in enumerate((3, 4, 6, 3)):
        extent = -(-extent // 2) if stage else extent
        for block in range(depth):
            stride = 2 if stage and not block else 1
            cells.append(Bottleneck(before, 64 << stage, stride, extent, extra, mlp, not stage))
            before = 256 << stage
    return nn.Sequential(*cells, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


def vgg16(classes, batch_norm=False):
    cells, channels = [], 3
    for step in (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"):
        if step == "M":
            cells.append(nn.MaxPool2d(2))
            continue
        cells += [conv(channels, step, 3, bias=not batch_norm)]
        cells += [nn.BatchNorm2d(step), nn.ReLU(inplace=True)] if batch_norm else [nn.ReLU(inplace=True)]
        channels = step
    drop = [] if batch_norm else [nn.Dropout(0.5)]
    return nn.Sequential(
        *cells, nn.Flatten(), nn.Linear(25088, 4096), nn.ReLU(inplace=True), *drop,
        nn.Linear(4096, 4096), nn.ReLU(inplace=True), *drop, nn.Linear(4096, classes),
    )  # fmt: skip


NETWORKS = {
    "densenet121": densenet121,
    "tinydarknet": tinydarknet,
    "genet-theta-minus": lambda classes: genet(classes, False, False),
    "genet-theta-plus": genet,
    "vgg16-imagenet": vgg16,
    "vgg16-cifar": lambda classes: vgg16(classes, True),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", choices=NETWORKS, required=True)
    parser.add_argument("--variant", choices=("eager", "channels_last", "compiled"), required=True)
    for name, default in (("batch", 16), ("size", 224), ("classes", 1000), ("steps", 5), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--amp_level", choices=("O0", "O2"), default="O0")
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(given.threads)
    network = NETWORKS[given.net](given.classes).train()
    images = torch.randn(given.batch, 3, given.size, given.size)
    if given.variant == "channels_last":
        network, images = network.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    if given.variant == "compiled":
        network = torch.compile(network)
    labels = torch.randint(0, given.classes, (given.batch,))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    seconds, busy = [], []
    for _ in range(given.steps + 2):
        began, worked = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=given.amp_level == "O2"):
            loss = functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
        busy.append(time.process_time() - worked)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report = {"first_s": seconds[0], "step_s": statistics.median(seconds[2:]), "best_s": min(seconds[2:])}
    report.update(cpu_s=statistics.median(busy[2:]), peak_mib=peak)
    print(json.dumps(report))


if __name__ == "__main__":
    sys.exit(main())
