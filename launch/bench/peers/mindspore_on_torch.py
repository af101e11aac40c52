"""As much of MindSpore's interface, on PyTorch in float64, as MindCV's networks need: `install` puts it in place.

Nothing but names and defaults is MindSpore's, so that what a network gives here is a second opinion on its numbers.
"""

import sys
import types

import torch
from torch import nn
from torch.nn import functional

_ANY = ("mindspore.dataset", "mindspore.numpy", "mindspore.common", "mindspore.common.initializer", "mindspore.train")


class Tensor(torch.Tensor):
    """A torch tensor whose `transpose` takes all axes."""

    def transpose(self, *axes):
        return self.permute(*axes)


class Parameter(nn.Parameter):
    def __new__(cls, data, name=None, requires_grad=True):
        return super().__new__(cls, data.as_subclass(torch.Tensor), requires_grad)

    def __init__(self, *_, **__):
        pass

    def set_data(self, _, **__):  # all are set from a file
        pass


class _Float16(torch.autograd.Function):
    """A cast to float16: rounded, and the gradient too."""

    @staticmethod
    def forward(ctx, x):
        return x.half().double()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.half().double()


class Cell(nn.Module):
    def __init__(self, auto_prefix=True, flags=None):
        super().__init__()

    def forward(self, *inputs):
        return self.construct(*inputs)

    def cells_and_names(self):
        return self.named_modules()


class _List(Cell):
    def __init__(self, *cells):
        super().__init__()
        if len(cells) == 1 and isinstance(cells[0], (list, tuple, dict)):
            cells = cells[0]
        for name, cell in cells.items() if isinstance(cells, dict) else enumerate(cells):
            self.add_module(str(name), cell)

    def append(self, cell):
        self.add_module(str(len(self)), cell)

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules.values())

    def __getitem__(self, index):
        found = list(self)[index]
        return type(self)(found) if isinstance(index, slice) else found


class SequentialCell(_List):
    def construct(self, x):
        for cell in self:
            x = cell(x)
        return x


def _pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)[-2:]


def _padded(x, mode, padding, kernel, stride, dilation=(1, 1), value=0.0):
    if mode == "same":
        sides = []
        for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True):
            total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            sides += [(total // 2, total - total // 2)]
        (top, bottom), (left, right) = sides
    elif isinstance(padding, int):
        top = bottom = left = right = padding
    else:
        top, bottom, left, right = padding if len(padding) == 4 else (padding[0], padding[0], padding[1], padding[1])
    return functional.pad(x, (left, right, top, bottom), value=value)


class Conv2d(Cell):
    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, pad_mode="same", padding=0, dilation=1, group=1,
        has_bias=False, weight_init=None, bias_init=None, data_format="NCHW",
    ):  # fmt: skip
        super().__init__()
        self.kernel, self.stride, self.dilation = _pair(kernel_size), _pair(stride), _pair(dilation)
        self.pad_mode, self.padding, self.group = pad_mode, padding, group
        self.kernel_size, self.out_channels, self.has_bias = self.kernel, out_channels, has_bias
        self.in_channels = in_channels
        self.weight = Parameter(torch.zeros(out_channels, in_channels // group, *self.kernel))
        self.bias = Parameter(torch.zeros(out_channels)) if has_bias else None

    def construct(self, x):
        x = _padded(x, self.pad_mode, self.padding, self.kernel, self.stride, self.dilation)
        return functional.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.group)


class Dense(Cell):
    def __init__(self, in_channels, out_channels, weight_init=None, bias_init=None, has_bias=True):
        super().__init__()
        self.in_channels, self.out_channels, self.has_bias = in_channels, out_channels, has_bias
        self.weight = Parameter(torch.zeros(out_channels, in_channels))
        self.bias = Parameter(torch.zeros(out_channels)) if has_bias else None

    def construct(self, x):
        return functional.linear(x, self.weight, self.bias)


class BatchNorm2d(Cell):
    def __init__(self, num_features, eps=1e-5, momentum=0.9, affine=True, gamma_init=None, **_):
        super().__init__()
        self.eps, self.num_features = eps, num_features
        self.gamma, self.beta = Parameter(torch.zeros(num_features)), Parameter(torch.zeros(num_features))
        self.moving_mean = Parameter(torch.zeros(num_features), requires_grad=False)
        self.moving_variance = Parameter(torch.zeros(num_features), requires_grad=False)

    def construct(self, x):
        moving = (None, None) if self.training else (self.moving_mean, self.moving_variance)
        return functional.batch_norm(x, *moving, self.gamma, self.beta, self.training, 0.0, self.eps)


class LayerNorm(Cell):
    def __init__(self, normalized_shape, begin_norm_axis=-1, begin_params_axis=-1, epsilon=1e-7):
        super().__init__()
        self.shape, self.eps = tuple(normalized_shape), epsilon
        self.gamma, self.beta = Parameter(torch.zeros(self.shape)), Parameter(torch.zeros(self.shape))

    def construct(self, x):
        return functional.layer_norm(x, self.shape, self.gamma, self.beta, self.eps)


class GroupNorm(Cell):
    def __init__(self, num_groups, num_channels, eps=1e-5):
        super().__init__()
        self.groups, self.eps = num_groups, eps
        self.gamma, self.beta = Parameter(torch.zeros(num_channels)), Parameter(torch.zeros(num_channels))

    def construct(self, x):
        return functional.group_norm(x, self.groups, self.gamma, self.beta, self.eps)


class MaxPool2d(Cell):
    def __init__(self, kernel_size=1, stride=1, pad_mode="valid", padding=0):
        super().__init__()
        self.kernel, self.stride, self.pad_mode, self.padding = _pair(kernel_size), _pair(stride), pad_mode, padding

    def construct(self, x):
        x = _padded(x, self.pad_mode, self.padding, self.kernel, self.stride, value=float("-inf"))
        return functional.max_pool2d(x, self.kernel, self.stride)


class AvgPool2d(Cell):
    """With "same" what lies outside the image does not count."""

    def __init__(self, kernel_size=1, stride=1, pad_mode="valid"):
        super().__init__()
        self.kernel, self.stride, self.pad_mode = _pair(kernel_size), _pair(stride), pad_mode

    def construct(self, x):
        found = [_padded(of, self.pad_mode, 0, self.kernel, self.stride) for of in (x, torch.ones_like(x))]
        total, count = (functional.avg_pool2d(of, self.kernel, self.stride) for of in found)
        return total / count


class Pad(Cell):
    def __init__(self, paddings):
        super().__init__()
        self.sides = [side for axis in reversed(paddings) for side in axis]

    def construct(self, x):
        return functional.pad(x, self.sides)


class Flatten(Cell):
    def construct(self, x):
        return x.flatten(1)


class Softmax(nn.Softmax):
    def __init__(self, axis=-1):
        super().__init__(axis)


class Dropout(Cell):
    """None: numbers are compared without it."""

    def __init__(self, p=0.5, dtype=None):
        super().__init__()

    def construct(self, x):
        return x


def _activation(name, compute):
    return type(name, (Cell,), {"construct": lambda self, x: compute(x)})


_ACTIVATIONS = {
    "ReLU": functional.relu,
    "ReLU6": functional.relu6,
    "Sigmoid": torch.sigmoid,
    "SiLU": functional.silu,
    "Tanh": torch.tanh,
    "HSwish": functional.hardswish,
    "HSigmoid": functional.hardsigmoid,
    "GELU": lambda x: functional.gelu(x, approximate="tanh"),
}


def _interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
    return functional.interpolate(x, size, scale_factor, mode, align_corners, recompute_scale_factor)


_OPS = {
    "concat": lambda tensors, axis=0: torch.cat(tuple(tensors), axis),
    "stack": lambda tensors, axis=0: torch.stack(tuple(tensors), axis),
    "mean": lambda x, axis, keep_dims=False: x.mean(axis, keepdim=keep_dims),
    "transpose": lambda x, axes: x.permute(axes),
    "reshape": lambda x, shape: x.reshape(tuple(shape)),
    "expand_dims": lambda x, axis: x.unsqueeze(axis),
    "ExpandDims": lambda: lambda x, axis: x.unsqueeze(axis),
    "ResizeNearestNeighbor": lambda size: lambda x: functional.interpolate(x, size, mode="nearest"),
    "cast": lambda x, dtype: _Float16.apply(x) if dtype == "float16" else x,
    "interpolate": _interpolate,
    "split": lambda tensor, split_size_or_sections, axis=0: torch.split(tensor, split_size_or_sections, axis),
    "add": torch.add,
    "mul": torch.mul,
}


class _Anything(types.ModuleType):
    """A module in which every name is something that can be called, subclassed and ignored."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *_, **__: None, "__call__": lambda self, *_, **__: self})


def install(mindcv):
    """Puts modules of these names where `import mindspore` finds them, and MindCV's packages without their `__init__`,
    which import all networks.

    mindcv: folder of the package.
    """
    cells = {
        name: value for name, value in globals().items() if isinstance(value, type) and issubclass(value, nn.Module)
    }
    cells |= {name: _activation(name, compute) for name, compute in _ACTIVATIONS.items()} | {"CellList": _List}
    for name in ("mindspore", "mindspore.nn", "mindspore.ops", *_ANY):
        sys.modules[name] = _Anything(name)
    for name in list(sys.modules):
        parent, _, child = name.rpartition(".")
        if parent.startswith("mindspore"):
            setattr(sys.modules[parent], child, sys.modules[name])
    vars(sys.modules["mindspore.nn"]).update(cells)
    vars(sys.modules["mindspore.ops"]).update(_OPS)
    own = {"Parameter": Parameter, "Tensor": _constant, "float32": "float32", "float16": "float16"}
    vars(sys.modules["mindspore"]).update(own)
    sys.modules["mindspore"].dtype = _Anything("mindspore.dtype")
    for name in ("mindcv", "mindcv.models", "mindcv.utils"):
        package = types.ModuleType(name)
        package.__path__ = [name.replace(".", "/").replace("mindcv", mindcv, 1)]
        sys.modules[name] = package
    sys.modules["mindcv.utils.download"] = _Anything("mindcv.utils.download")


def as_tensor(array):
    """Returns float64 numbers as what networks take."""
    return torch.as_tensor(array, dtype=torch.float64).as_subclass(Tensor)


def _constant(data, dtype=None):
    return torch.as_tensor(data, dtype=torch.float64)
