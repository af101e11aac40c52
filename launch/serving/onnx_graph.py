"""An ONNX file as MindSpore writes it, made fit for use: any batch size, names that speak, what it must know inside."""

import os
import re

import onnx
from onnx import helper, numpy_helper, version_converter

OPSET = 17  # the first with all that the preprocessing needs; onnxruntime 1.12 and later
BATCH = "N"


def tidied(model, batch_size=None):
    """Returns a model of MindSpore's with input `tensor` and outputs `logits` and `probabilities`.

    batch_size: None for any. The networks' operators work image by image, so the first dimension of what goes in and
    out is all that changes.
    """
    graph = model.graph
    _join_leaky_relus(graph)
    _rename(graph, {graph.input[0].name: "tensor", graph.output[0].name: "logits"})
    _shorten_names(graph)
    for value in (graph.input[0], graph.output[0]):
        if batch_size is None:
            value.type.tensor_type.shape.dim[0].dim_param = BATCH
    del graph.value_info[:]
    model = version_converter.convert_version(model, OPSET)
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    model.graph.node.append(helper.make_node("Softmax", ["logits"], ["probabilities"], name="probabilities", axis=1))
    model.graph.output.append(
        helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, [batch_size or BATCH, classes])
    )
    model.ir_version, model.producer_name, model.graph.name = 8, "cellwright", "cellwright"
    onnx.checker.check_model(model, full_check=True)
    return model


def describe(model, values):
    """Puts strings into the model's metadata, a dict by name; what had the name before goes."""
    kept = {entry.key: entry.value for entry in model.metadata_props} | {
        key: str(value) for key, value in values.items()
    }
    helper.set_model_props(model, kept)


def write(model, path):
    """Writes a model to a file, whole or not at all."""
    unfinished = f"{path}.tmp"
    onnx.save(model, unfinished)
    os.replace(unfinished, path)


def _join_leaky_relus(graph):
    """Max(a * x, x) with 0 < a < 1, as MindSpore writes it, becomes the LeakyRelu that runtimes know how to fuse."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    for node in list(graph.node):
        product = makers.get(node.input[0]) if node.op_type == "Max" and len(node.input) == 2 else None
        if product is None or product.op_type != "Mul" or node.input[1] not in product.input:
            continue
        factor = constants.get(next((name for name in product.input if name != node.input[1]), None))
        value = numpy_helper.to_array(factor) if factor is not None else None
        if value is None or value.size != 1 or not 0 < value.item() < 1:
            continue
        leaky = helper.make_node("LeakyRelu", [node.input[1]], list(node.output), node.name, alpha=value.item())
        graph.node.insert(list(graph.node).index(node), leaky)
        graph.node.remove(node)
        graph.node.remove(product)
    read = {name for node in graph.node for name in node.input}
    for name in [name for name in constants if name not in read]:
        graph.initializer.remove(constants[name])


def _rename(graph, names):
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names.get(value.name, value.name)


def _shorten_names(graph):
    """Names of values that hold a scope of MindSpore's become the last part of it, numbered."""
    kept = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    names = {}
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type.lower()}_{number}"
        for output in node.output:
            if output not in kept:
                names[output] = f"{node.op_type.lower()}_{number}" if len(node.output) == 1 else f"{node.name}_{output}"
    for tensor in graph.initializer:
        if "/" in tensor.name:
            names[tensor.name] = re.sub(r"[^\w.]", "_", tensor.name)
    _rename(graph, names)
