"""Evaluation's preprocessing as nodes in front of an ONNX model: uint8 images of any size in, the pixels of OpenCV."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

_PREFIX = "pre_"


class Nodes:
    """Collects nodes and constants: each call of `add` returns the name of the node's output."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def add(self, kind, *inputs, **attributes):
        name = f"{_PREFIX}{kind.lower()}_{len(self.nodes)}"
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self.nodes.append(helper.make_node(kind, names, [name], name, **attributes))
        return name

    def constant(self, value):
        name = f"{_PREFIX}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def with_preprocessing(model, transform, mean, std):
    """Returns the model with an input `images`, uint8 (N, H, W, 3) RGB of any height and width, in place of `tensor`.

    transform: an EvalTransform without antialias. mean, std: of each channel, in units of 0 to 255. The resize repeats
    the fixed-point arithmetic of OpenCV's bilinear one: coefficients of 11 bits, sums cut to 8 bits in two steps.
    """
    if transform.antialias:
        raise ValueError("antialias = True: the preprocessing of a file is OpenCV's bilinear resize")
    n, side = Nodes(), transform.image_size
    height, width = (n.add("Gather", n.add("Shape", "images"), np.array(axis, np.int64), axis=0) for axis in (1, 2))
    rows, columns = _resized(n, transform, height, width)
    top, bottom, row_weights = _taps(n, height, rows, side, (1, side, 1, 1), split_beyond=True)
    left, right, column_weights = _taps(n, width, columns, side, (1, 1, side, 1), split_beyond=False)
    lines = [
        _weighted(n, n.add("Gather", "images", line, axis=1), left, right, column_weights) for line in (top, bottom)
    ]
    halves = [
        n.add("Div", n.add("Mul", n.add("Div", line, np.int32(16)), weight), np.int32(65536))
        for line, weight in zip(lines, row_weights)
    ]
    pixels = n.add("Div", n.add("Add", n.add("Add", *halves), np.int32(2)), np.int32(4))
    planes = n.add("Transpose", n.add("Cast", pixels, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    factor, offset = ((value.reshape(1, 3, 1, 1)).astype(np.float32) for value in (1 / std, -mean / std))
    n.nodes.append(helper.make_node("Mul", [planes, n.constant(factor)], [f"{_PREFIX}scaled"], f"{_PREFIX}scaled"))
    n.nodes.append(
        helper.make_node("Add", [f"{_PREFIX}scaled", n.constant(offset)], ["tensor"], f"{_PREFIX}normalised")
    )
    graph = model.graph
    nodes = [*n.nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(n.constants)
    batch = graph.input[0].type.tensor_type.shape.dim[0]
    images = helper.make_tensor_value_info(
        "images", TensorProto.UINT8, [batch.dim_param or batch.dim_value, "height", "width", 3]
    )
    others = [value for value in graph.input if value.name != "tensor"]
    del graph.input[:]
    graph.input.extend([images, *others])
    return model


def _resized(n, transform, height, width):
    """(rows, columns) after the resize, as `EvalTransform.resized` has them."""
    if transform.resize != "shorter":
        size = transform.image_size if transform.resize == "direct" else transform.resize_size
        return n.constant(np.int64(size)), n.constant(np.int64(size))
    size = np.int64(transform.resize_size)
    shorter = n.add("Min", height, width)
    return tuple(n.add("Max", n.add("Div", n.add("Mul", length, size), shorter), size) for length in (height, width))


def _taps(n, length, resized, side, shape, split_beyond):
    """(first pixel, second pixel, weights of both times 2048) for each of the `side` places of the centre crop.

    split_beyond: whether a place beyond the border is still a sum of two parts, of the same pixel; OpenCV does so for
    rows and not for columns, and each part is cut on its own.
    """
    first = n.add("Div", n.add("Sub", resized, np.int64(side)), np.int64(2))
    place = n.add("Cast", n.add("Add", first, np.arange(side, dtype=np.int64)), to=TensorProto.DOUBLE)
    real = [n.add("Cast", value, to=TensorProto.DOUBLE) for value in (length, resized)]
    scale = n.add("Div", np.float64(1), n.add("Div", real[1], real[0]))
    middle = n.add("Sub", n.add("Mul", n.add("Add", place, np.float64(0.5)), scale), np.float64(0.5))
    middle = n.add("Cast", middle, to=TensorProto.FLOAT)
    floor = n.add("Floor", middle)
    pixel = n.add("Cast", floor, to=TensorProto.INT64)
    last, share = n.add("Sub", length, np.int64(1)), n.add("Sub", middle, floor)
    if not split_beyond:
        inside = n.add("And", n.add("GreaterOrEqual", pixel, np.int64(0)), n.add("Less", pixel, last))
        share = n.add("Where", inside, share, np.float32(0))
    weights = [
        n.add(
            "Reshape",
            n.add("Cast", n.add("Round", n.add("Mul", part, np.float32(2048))), to=TensorProto.INT32),
            np.array(shape, np.int64),
        )
        for part in (n.add("Sub", np.float32(1), share), share)
    ]
    pair = [pixel, n.add("Add", pixel, np.int64(1))]
    return *(n.add("Min", n.add("Max", at, np.int64(0)), last) for at in pair), weights


def _weighted(n, lines, left, right, weights):
    parts = [
        n.add("Mul", n.add("Cast", n.add("Gather", lines, place, axis=2), to=TensorProto.INT32), weight)
        for place, weight in zip((left, right), weights)
    ]
    return n.add("Add", *parts)
