"""The four networks written down again, from the published tables, on the numpy layers; weights come by name."""

import float64_layers as o
import numpy as np
import numpy_tape as tape


class Weights:
    """The parameters of a network by name, and in `moved` what training makes of the moving statistics."""

    def __init__(self, arrays, training):
        self.arrays = {name: np.asarray(value, np.float64) for name, value in arrays.items()}
        self.nodes = {
            n: tape.Node(v) for n, v in self.arrays.items() if not n.endswith(("moving_mean", "moving_variance"))
        }
        self.training, self.moved = training, {}

    def __getitem__(self, name):
        return self.nodes.get(name)

    def norm(self, x, name, eps=1e-5, momentum=0.9):
        names = [f"{name}.moving_mean", f"{name}.moving_variance"]
        moving = [self.arrays[each] for each in names]
        y, own = tape.batch_norm(x, self[f"{name}.gamma"], self[f"{name}.beta"], *moving, eps, self.training)
        if self.training:
            count = x.value.size // x.value.shape[1]
            own = own[0], own[1] * count / (count - 1)
            self.moved |= {k: momentum * a + (1 - momentum) * b for k, a, b in zip(names, moving, own)}
        return y


def densenet(w, x, blocks=(6, 12, 24, 16), transition="max"):
    f = "backbone.features."
    around = [(1, 1), (1, 1)]
    x = o.conv(x, w[f + "conv0.weight"], stride=2, pads=[(3, 3), (3, 3)])
    x = o.leaky_relu(w.norm(x, f + "norm0"))
    x = o.max_pool(x, 3, 2, pads=None if transition == "max" else around)
    for b, layers in enumerate(blocks, start=1):
        for i in range(layers):
            cell = f"{f}denseblock{b}.cell_list.{i}."
            y = o.conv(o.leaky_relu(w.norm(x, cell + "norm1")), w[cell + "conv1.weight"])
            y = o.conv(o.leaky_relu(w.norm(y, cell + "norm2")), w[cell + "conv2.weight"], pads=around)
            x = tape.concat(x, y)
        if b < len(blocks):
            cell = f"{f}transition{b}.features."
            x = o.conv(o.leaky_relu(w.norm(x, cell + "norm")), w[cell + "conv.weight"])
            x = o.max_pool(x, 2, 2) if transition == "max" else o.avg_pool(x, 2)
    x = o.leaky_relu(w.norm(x, f + "norm5"))
    return tape.dense(o.flatten(o.mean_hw(x)), w["head.fc.weight"], w["head.fc.bias"])


def tinydarknet(w, x):
    pools_after = {1, 2, 6, 10}
    for i in range(1, 17):
        x = o.conv(x, w[f"conv{i}.conv.weight"])
        x = o.leaky_relu(w.norm(x, f"conv{i}.bn", eps=1e-3), 0.2)
        if i in pools_after:
            x = o.max_pool(x, 2, 2, pads=None)
    return o.flatten(o.mean_hw(x))


def genet(w, x, extra, mlp, gather="downsampled", stages=(3, 4, 6, 3)):
    def unit(x, name, stride=1):
        return w.norm(o.conv(x, w[name + ".conv.weight"], stride=stride), name + ".batchnorm", momentum=0.997)

    x = o.conv(x, w["conv1.weight"], stride=2)
    x = o.max_pool(o.leaky_relu(w.norm(x, "bn1", eps=1e-4, momentum=0.95)), 3, 2, pads=None)
    for s, depth in enumerate(stages, start=1):
        for i in range(depth):
            cell = f"layer{s}.{i}"
            stride = 2 if s > 1 and i == 0 else 1
            y = o.leaky_relu(unit(x, cell + ".conv1"))
            y = o.leaky_relu(unit(y, cell + ".conv2", stride))
            y = unit(y, cell + ".conv3")
            if extra:
                gate, place = y, 0
                if s == 1 and gather == "downsampled":
                    gate = w.norm(o.conv(gate, w[cell + ".downop.0.weight"], stride=2), cell + ".downop.1")
                    place = 2
                gate = o.depthwise_global(gate, w[f"{cell}.downop.{place}.weight"])
                gate = w.norm(gate, f"{cell}.downop.{place + 1}")
            else:
                gate = o.mean_hw(y)
            if mlp:
                gate = o.leaky_relu(o.conv(gate, w[cell + ".mlpLayer.0.weight"]))
                gate = o.conv(gate, w[cell + ".mlpLayer.2.weight"])
            shortcut = unit(x, cell + ".down_layer", stride) if i == 0 else x
            x = o.leaky_relu(o.gated_sum(y, o.sigmoid(gate), shortcut))
    return tape.dense(o.flatten(o.mean_hw(x)), w["end_point.weight"], w["end_point.bias"])


def vgg16(w, x, batch_norm):
    place = 0
    for channels in (2, 2, 3, 3, 3):
        for _ in range(channels):
            x = o.conv(x, w[f"layers.{place}.weight"], w[f"layers.{place}.bias"], pads=[(1, 1), (1, 1)])
            place += 1
            if batch_norm:
                x = w.norm(x, f"layers.{place}")
                place += 1
            x = o.leaky_relu(x)
            place += 1
        x = o.max_pool(x, 2, 2)
        place += 1
    x = o.flatten(x)
    for i in (0, 3):
        x = o.leaky_relu(tape.dense(x, w[f"classifier.{i}.weight"], w[f"classifier.{i}.bias"]))
    return tape.dense(x, w["classifier.6.weight"], w["classifier.6.bias"])
