"""Programs that store bfloat16 against those in float32, and the forms of their convolutions against one another."""

import all_instructions
import numpy as np
import pytest
from layer_cells import LAYERS
from mindspore import Tensor, nn
from small_cells import SMALL, conv, difference, fill, images, outcome

from cellwright.kernels.compiler import accelerate, accelerated, explain, forms, operands, store_in
from cellwright.kernels.compiler.layers import convolution
from cellwright.kernels.compiler.tensors import BFLOAT16, FLOAT32, ROWS, STORED, WIDE
from cellwright.kernels.csrc import program_abi as native
from cellwright.kernels.csrc import shim_available

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")
# Layers without a kink, where rounding switches nothing, are as near as rounding is; gradients of the others less so.
SMOOTH = ("conv 3x3 of images", "conv of many channels", "average pool", "norm of the input")
KINKED = ("conv 3x3 with bias, pad, odd channels", "dense block", "gate over the mean", "windows larger than the image")


NETWORKS = SMALL | LAYERS


def narrow(name, form):
    """What a network gives by programs in bfloat16, with its convolutions in a form."""
    with forms.forced(form):
        network = store_in_bfloat16(NETWORKS[name]())
        assert network.set_train().program_programs.dtype == BFLOAT16
        return outcome(network, images(network))


def store_in_bfloat16(network):
    assert store_in(accelerate(network), BFLOAT16) == [network]
    return network


def slope(expected, found):
    """How much larger than expected an array is on the whole; 1 if it is as often larger as smaller."""
    return (expected * found).sum() / (expected**2).sum()


@pytest.mark.parametrize("name", SMOOTH + KINKED)
def test_results_are_those_of_float32_but_for_rounding(name):
    network = accelerate(NETWORKS[name]())
    expected, found = outcome(network, images(network)), narrow(name, WIDE)
    results = ("evaluation", "training")
    for key in expected if name in SMOOTH else results:
        distance = np.linalg.norm(found[key] - expected[key]) / np.linalg.norm(expected[key])
        assert 1e-5 < distance < 1e-2, key  # of each; less would be float32
    for key in results:
        assert abs(slope(expected[key], found[key]) - 1) < 2e-3, key  # it rounds down as often as up
    gradients = [key for key in expected if key.startswith("gradient")]
    whole, near = (np.concatenate([some[key].ravel() for key in gradients]) for some in (expected, found))
    assert np.linalg.norm(near - whole) < 0.1 * np.linalg.norm(whole)
    assert abs(slope(whole, near) - 1) < 2e-2


@pytest.mark.parametrize("form", [STORED, ROWS])
@pytest.mark.parametrize("name", ["conv 3x3 with bias, pad, odd channels", "norm, leaky", "dense block"])
def test_all_forms_give_the_same(name, form):
    """Operands are rounded at the same points; sums in another order switch the rounding of a number here and there."""
    distance, where = difference(narrow(name, WIDE), narrow(name, form))
    assert distance < 2e-2, where


def test_a_form_that_has_reference_loops_alone_is_not_taken():
    network = store_in_bfloat16(SMALL["conv 3x3 with bias, pad, odd channels"]())
    tensors = network.set_train().program_programs.tensors((1, 3, 12, 12))
    convolutions = [stored for stored in tensors.stored if stored.kind.name == "conv"]
    for form in (STORED, ROWS):
        with forms.forced(form):
            for stored in convolutions:
                taken = convolution.choose_form(stored)
                numbers = convolution.shape(stored, True, taken)
                assert taken in (form, WIDE)
                assert "ref" not in native.implementation(native.FORWARD, numbers)


def test_rows_convolve_chunks_of_any_size():
    """Also where oneDNN has no layout of the weights for all sizes, and runs the images one by one."""
    numbers = {
        **dict.fromkeys(("stride_height", "stride_width", "dilation_height", "dilation_width", "top", "left"), 1),
        **dict.fromkeys(("channels", "filters"), 32),
        **dict.fromkeys(("height", "width", "out_height", "out_width"), 14),
        **dict.fromkeys(("groups", "bfloat16", "rows"), 1),
        **dict.fromkeys(("bias", "plain_source", "relu"), 0),
        **dict.fromkeys(("kernel_height", "kernel_width"), 3),
    }
    try:
        handle, floats = native.convolution(native.FORWARD, numbers, [3, 1, 2])
    except RuntimeError:
        pytest.skip("this machine has no loops for bfloat16 in rows")
    assert floats >= 32 * 32 * 9 // 2
    native.library().cellwright_conv_destroy(handle)


def test_two_runs_give_the_same_bits():
    first, second = (narrow("dense block", forms.fastest()) for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array, err_msg=name)


def test_the_memory_between_the_nodes_is_half():
    network = accelerate(nn.SequentialCell([conv(16, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), conv(64, 64, 3)]))
    floats = []
    for dtype in (FLOAT32, BFLOAT16):
        store_in(network, dtype)
        floats.append(network.set_train().program_programs.saved_floats((4, 16, 56, 56)))
    assert floats[1] < 0.51 * floats[0]


def test_explain_and_store_in_say_what_is_stored_how():
    network = SMALL["dense block"]()
    assert explain(network, (2, 3, 12, 12)).parts[0].dtype == FLOAT32
    assert "bfloat16 program" in str(explain(network, (2, 3, 12, 12), BFLOAT16))
    accelerate(network)
    assert store_in(network, BFLOAT16, except_for=(nn.Dense,)) == []
    assert explain(network, (2, 3, 12, 12)).parts[0].dtype == FLOAT32
    with pytest.raises(ValueError, match="float16"):
        store_in(network, "float16")


def test_what_has_no_bfloat16_is_float32_and_says_why(monkeypatch):
    monkeypatch.setattr(operands, "IN_BFLOAT16", operands.IN_BFLOAT16 - {"max_pool"})
    network = store_in_bfloat16(SMALL["pools"]())
    assert accelerated(network) == [network]
    assert network.set_train().program_programs.dtype == FLOAT32
    part = explain(network, images(network).shape).parts[0]
    assert part.replaced and part.dtype == FLOAT32 and "max_pool" in part.reason
    fill(network, 0)
    assert np.isfinite(network(Tensor(images(network))).asnumpy()).all()


def test_a_trial_decides_by_seconds(monkeypatch):
    def seconds(wide, stored, rows):
        found = {form: forms.Trial("jit", time) for form, time in ((WIDE, wide), (STORED, stored), (ROWS, rows))}
        monkeypatch.setattr(forms, "trials", lambda: found)
        return forms.fastest(), forms.describe()

    assert seconds(2.0, 1.0, 1.0) == (STORED, "AVX-512")  # as on Zen 4
    assert seconds(1.0, 1.8, 0.12)[0] == ROWS  # as with AMX
    assert seconds(1.0, 1.8, 1.7) == (WIDE, "storage only")  # AVX512_BF16 at half the rate
    assert seconds(1.0, None, None) == (WIDE, "storage only")


def test_the_forms_with_all_instructions_of_this_machine():
    """AVX2 has no bfloat16: here oneDNN's loops for it run, where the machine has them."""
    code = "import test_bfloat16 as t\n"
    code += "for form in (t.STORED, t.ROWS):\n"
    code += "    for name in ('conv 3x3 with bias, pad, odd channels', 'dense block', 'residual', 'pools'):\n"
    code += "        t.test_all_forms_give_the_same(name, form)\n"
    code += "t.test_a_form_that_has_reference_loops_alone_is_not_taken()\n"
    code += "t.test_rows_convolve_chunks_of_any_size() if t.forms.trials()[t.ROWS].seconds else None"
    all_instructions.run(code)
