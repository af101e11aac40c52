"""Training in bfloat16: which dtype is taken, the curve beside float32, resuming to the bit, what overflows."""

import numpy as np
import pytest
from small_net import ConvNet, SmallNet, batches, step_of

from cellwright.engine import LossScale
from cellwright.engine.step.precision import half_type
from cellwright.kernels.compiler import accelerate, accelerated
from cellwright.kernels.csrc import shim_available

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")


def step_at(level, **settings):
    network = accelerate(ConvNet())
    assert accelerated(network)
    return step_of(network, amp_level=level, **settings)


def dtypes_of(network):
    return {cell.set_train().program_programs.dtype for cell in accelerated(network)}


def test_auto_is_bfloat16_where_programs_run_and_float16_elsewhere():
    step = step_at("O2")
    assert step.settings["amp_dtype"] == "bfloat16"
    assert dtypes_of(step.network) == {"bfloat16"}
    assert half_type(SmallNet(), "O2") == "float16"
    assert half_type(SmallNet(), "O0") == "float32"
    assert step_at("O0").settings["amp_dtype"] == "float32"


@pytest.mark.parametrize(
    "level, dtype, text",
    [
        ("O2", "float8", "must be one of auto, float16, bfloat16"),
        ("O0", "bfloat16", "O0 is float32"),
        ("O2", "bfloat16", "no part of the network runs on programs"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(level, dtype, text):
    with pytest.raises(ValueError, match=text):
        half_type(SmallNet(), level, dtype)


def test_cells_that_are_to_stay_float32_keep_their_program_in_it():
    step = step_at("O2", float32_cells=(type(ConvNet().body[1]),))
    assert dtypes_of(step.network) == {"float32"}


def test_the_curve_is_that_of_float32():
    """20 steps: rounding to bfloat16 moves the losses by next to nothing beside what the training does."""
    data = batches(4, 16)
    curves = {}
    for level in ("O0", "O2", "O3"):
        step = step_at(level)
        curves[level] = np.array([step(*data[k % 4], lr=0.3).loss for k in range(20)])
    progress = curves["O0"][:4].mean() - curves["O0"][-4:].mean()
    assert progress > 0.1
    assert 0 < np.abs(curves["O2"] - curves["O0"]).max() < 0.03 * progress
    np.testing.assert_array_equal(curves["O2"], curves["O3"])


def state_of(step):
    return {p.name: p.asnumpy().copy() for p in (*step.network.get_parameters(), *step.state_parameters())}


def test_a_resumed_run_has_the_same_bits():
    data = batches(6, 8)
    whole = step_at("O2")
    for images, labels in data[:3]:
        whole(images, labels, lr=0.1)
    half_way = state_of(whole)
    for images, labels in data[3:]:
        whole(images, labels, lr=0.1)
    resumed = step_at("O2")
    for parameter in (*resumed.network.get_parameters(), *resumed.state_parameters()):
        parameter.set_data(type(parameter)(half_way[parameter.name]))
    resumed.state_was_set()
    for images, labels in data[3:]:
        resumed(images, labels, lr=0.1)
    expected, found = state_of(whole), state_of(resumed)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_step_that_overflows_is_skipped():
    step = step_at("O2", loss_scale=LossScale.dynamic(init=2.0**24, ceiling=2.0**24))
    images, labels = batches(1, 8)[0]
    step(images, labels, lr=0.1)
    assert step(np.full_like(images, 255), labels, lr=1.0).finite  # bfloat16 has the exponents of float32
    weight = step.network.body[0].weight
    weight.set_data(type(weight)(np.full(weight.shape, 3e38, np.float32)))
    before = {p.name: p.asnumpy().copy() for p in step.network.get_parameters()}
    report = step(images, labels, lr=0.1)
    assert not report.finite
    for parameter in step.network.get_parameters():
        np.testing.assert_array_equal(parameter.asnumpy(), before[parameter.name], err_msg=parameter.name)
