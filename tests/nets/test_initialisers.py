"""What is drawn: mean, standard deviation and bounds of the weights, and that a seed fixes them."""

import math

import mindspore as ms
import numpy as np
import pytest

from cellwright.nets import create_network


def drawn(name, settings):
    return {p.name: p.asnumpy() for p in create_network(name, 1000, 64, **settings).get_parameters()}


def assert_normal(values, sigma):
    n = values.size
    assert abs(values.mean()) < 5 * sigma / math.sqrt(n)
    assert values.std() == pytest.approx(sigma, rel=5 / math.sqrt(2 * n))
    # Not cut: the share beyond two sigma is 4.55 %.
    assert np.mean(np.abs(values) > 2 * sigma) == pytest.approx(0.0455, abs=5 * math.sqrt(0.0455 / n))


def assert_truncated(values, sigma):
    """Cut at two sigma, which leaves 0.8796 of the deviation."""
    assert np.abs(values).max() <= 2 * sigma * (1 + 1e-6)
    assert np.abs(values).max() > 1.9 * sigma
    assert abs(values.mean()) < 5 * sigma / math.sqrt(values.size)
    assert values.std() == pytest.approx(0.8796 * sigma, rel=5 / math.sqrt(2 * values.size))


def assert_uniform(values, bound):
    assert np.abs(values).max() <= bound * (1 + 1e-6)
    assert np.abs(values).max() > 0.99 * bound
    assert abs(values.mean()) < 5 * bound / math.sqrt(3 * values.size)
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=5 / math.sqrt(values.size))


def assert_norms_start_at_one_and_zero(found):
    start = {"gamma": 1, "beta": 0, "moving_mean": 0, "moving_variance": 1, "bias": 0}
    for name, values in found.items():
        kind = name.rpartition(".")[2]
        if kind in start:
            assert np.all(values == start[kind]), name


def test_densenet():
    found = drawn("densenet121", {})
    assert_normal(found["backbone.features.conv0.weight"], math.sqrt(2 / (64 * 49)))
    assert_normal(found["backbone.features.denseblock3.cell_list.20.conv1.weight"], math.sqrt(2 / 128))
    assert_normal(found["backbone.features.denseblock1.cell_list.3.conv2.weight"], math.sqrt(2 / (32 * 9)))
    assert_normal(found["backbone.features.transition3.features.conv.weight"], math.sqrt(2 / 512))
    assert_uniform(found["head.fc.weight"], 1 / 32)
    assert_norms_start_at_one_and_zero(found)


def test_tinydarknet():
    found = drawn("tinydarknet", {})
    assert_truncated(found["conv12.conv.weight"], 0.02)
    assert_truncated(found["conv16.conv.weight"], 0.02)
    assert_norms_start_at_one_and_zero(found)


def test_genet():
    found = drawn("genet", {})
    assert_uniform(found["conv1.weight"], math.sqrt(6 / (3 * 49)))
    assert_uniform(found["layer3.2.conv2.conv.weight"], math.sqrt(6 / (256 * 9)))
    assert_uniform(found["layer4.0.down_layer.conv.weight"], math.sqrt(6 / 1024))
    assert_uniform(found["layer1.0.downop.0.weight"], math.sqrt(6 / (256 * 9)))
    # Depthwise: one input channel for each output channel.
    assert_uniform(found["layer1.0.downop.2.weight"], math.sqrt(6 / 64))
    assert_uniform(found["layer2.1.mlpLayer.0.weight"], math.sqrt(6 / 512))
    assert_truncated(found["end_point.weight"], 0.01)
    assert_norms_start_at_one_and_zero(found)


def test_vgg16_of_imagenet():
    found = drawn("vgg16", {"hidden": 64})
    assert_normal(found["layers.12.weight"], math.sqrt(2 / (9 * 256)))
    assert_normal(found["classifier.0.weight"], 0.01)
    assert_normal(found["classifier.6.weight"], 0.01)
    assert_norms_start_at_one_and_zero(found)


def test_vgg16_of_cifar10():
    found = drawn("vgg16", {"hidden": 64, "batch_norm": True})
    assert_uniform(found["layers.0.weight"], math.sqrt(6 / (9 * (3 + 64))))
    assert_uniform(found["layers.27.weight"], math.sqrt(6 / (9 * 1024)))
    assert_normal(found["classifier.3.weight"], 0.01)
    assert_norms_start_at_one_and_zero(found)


def test_a_seed_fixes_the_weights():
    found = []
    for seed in (7, 7, 8):
        ms.set_seed(seed)
        found.append(drawn("tinydarknet", {})["conv3.conv.weight"])
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


@pytest.mark.parametrize(
    "name, slopes, norms",
    [
        ("densenet121", set(), {(1e-5, 0.9)}),
        ("tinydarknet", {0.2}, {(1e-3, 0.9)}),
        ("genet", set(), {(1e-4, 0.95), (1e-5, 0.997), (1e-5, 0.9)}),
    ],
)
def test_norms_and_slopes_do_not_follow_the_frameworks_defaults(name, slopes, norms):
    """The second number is the share of the old moving value; the cell stores what is left for the new one."""
    cells = [cell for _, cell in create_network(name, 10, 32).cells_and_names()]
    assert {(c.eps, round(1 - c.momentum, 6)) for c in cells if isinstance(c, ms.nn.BatchNorm2d)} == norms
    assert {round(float(c.alpha), 6) for c in cells if isinstance(c, ms.nn.LeakyReLU)} == slopes
