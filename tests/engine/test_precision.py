"""What computes in float16 at each level, read from the compiled graph."""

import re
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from small_net import SmallNet, images_and_labels, step_of

from cellwright.engine import LossScale

HALF, SINGLE = {"Float16"}, {"Float32"}


def compute_types(folder, **settings):
    """Compiles a step and returns {operator: set of the element types of its first input}, from MindSpore's graph
    dump.
    """
    net = SmallNet()
    step = step_of(net, **settings)
    ms.set_context(save_graphs=1, save_graphs_path=str(folder))
    try:
        report = step(*images_and_labels(4), lr=0.1)
    finally:
        ms.set_context(save_graphs=0)
    assert np.isfinite(report.loss)
    assert {str(p.dtype) for p in net.get_parameters()} == SINGLE, "the master weights are float32"
    text = next(Path(folder).rglob("*validate*.ir")).read_text()
    types = {}
    for name, element in re.findall(r"= (?:PrimFunc_)?(\w+)\(.*?\n\s+: \(<Tensor\[(\w+)", text):
        types.setdefault(name, set()).add(element)
    return types


@pytest.mark.parametrize(
    "settings, convolution, norm, dense",
    [
        ({"amp_level": "O0"}, SINGLE, SINGLE, SINGLE),
        ({"amp_level": "O2"}, HALF, SINGLE, HALF),
        ({"amp_level": "O3"}, HALF, HALF, HALF),
        ({"amp_level": "O3", "float32_cells": (nn.Dense,)}, HALF, HALF, SINGLE),
        ({"amp_level": "O0", "float16_cells": (nn.Conv2d,)}, HALF, SINGLE, SINGLE),
    ],
)
def test_each_level_computes_in_its_types(tmp_path, settings, convolution, norm, dense):
    types = compute_types(tmp_path, **settings)
    for name in ("Conv2D", "Conv2DBackpropFilter"):
        assert types[name] == convolution, name
    for name in ("BatchNorm", "BatchNormGrad"):
        assert types[name] == norm, name
    assert types["MatMul"] == dense
    # the loss, and what happens to gradients, never leave float32
    for name in ("Exp", "Log", "IsFinite", "ApplyMomentum"):
        assert types.get(name, SINGLE) == SINGLE, name


def test_float16_overflows_where_float32_does_not():
    """The scale is too large for float16 gradients, so the step backs off until they fit."""
    reports = {}
    for level in ("O0", "O3"):
        step = step_of(SmallNet(), amp_level=level, loss_scale=LossScale.dynamic(init=2.0**24))
        images, labels = images_and_labels(16)
        reports[level] = [step(images, labels, lr=0.1) for _ in range(15)]
    assert all(report.finite for report in reports["O0"])
    finite = [report.finite for report in reports["O3"]]
    assert not finite[0] and finite[-1]
    assert reports["O3"][-1].loss == pytest.approx(reports["O0"][finite.count(True)].loss, rel=0.02)


def test_a_network_is_cast_once():
    net = SmallNet()
    for _ in range(2):
        step_of(net, amp_level="O2")
    with pytest.raises(ValueError, match="amp_level = 'O3': the network was cast to O2 before"):
        step_of(net, amp_level="O3")
