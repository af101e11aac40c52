import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from cellwright.engine import SoftmaxCrossEntropy


def oracle(logits, labels, smooth, off_count):
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    target = np.full(logits.shape, smooth / off_count)
    target[np.arange(len(labels)), labels] = 1 - smooth
    losses = -(target * log_p).sum(1)
    p = np.exp(log_p)
    return losses, p * target.sum(1, keepdims=True) - target


@pytest.mark.parametrize("smooth, off", [(0.0, "K-1"), (0.1, "K-1"), (0.1, "K")])
def test_value_and_gradient_against_float64(smooth, off):
    rng = np.random.default_rng(1)
    logits = (3 * rng.normal(size=(7, 12))).astype(np.float32)
    labels = rng.integers(0, 12, 7).astype(np.int32)
    weights = np.array([1, 1, 0, 1, 2, 1, 0], np.float32)
    losses, slopes = oracle(logits, labels, smooth, 11 if off == "K-1" else 12)
    cell = SoftmaxCrossEntropy(12, smooth, off)
    value, gradient = ms.value_and_grad(cell, 0)(Tensor(logits), Tensor(labels), Tensor(weights))
    assert float(value.asnumpy()) == pytest.approx((losses * weights).sum() / weights.sum(), rel=1e-6)
    np.testing.assert_allclose(gradient.asnumpy(), slopes * (weights / weights.sum())[:, None], atol=2e-7)


@pytest.mark.parametrize("smooth, off", [(0.0, "K-1"), (0.1, "K-1"), (0.1, "K")])
def test_shares_of_classes_cost_what_the_labels_cost_of_which_they_are_a_mixture(smooth, off):
    rng = np.random.default_rng(2)
    logits = (3 * rng.normal(size=(7, 5))).astype(np.float32)
    one, other = rng.integers(0, 5, (2, 7))
    share = rng.random(7)
    eye, spread = np.eye(5), 4 if off == "K-1" else 5
    soft = (share[:, None] * eye[one] + (1 - share[:, None]) * eye[other]).astype(np.float32)
    expected = [oracle(logits, labels, smooth, spread)[0] for labels in (one, other)]
    found = SoftmaxCrossEntropy(5, smooth, off).per_sample(Tensor(logits), Tensor(soft)).asnumpy()
    np.testing.assert_allclose(found, share * expected[0] + (1 - share) * expected[1], rtol=1e-5)


@pytest.mark.parametrize("smooth", [0.0, 0.1])
def test_huge_logits_stay_finite(smooth):
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], np.float32)
    labels = np.array([1, 2], np.int32)
    losses, _ = oracle(logits, labels, smooth, 2)
    value, gradient = ms.value_and_grad(SoftmaxCrossEntropy(3, smooth), 0)(Tensor(logits), Tensor(labels))
    assert float(value.asnumpy()) == pytest.approx(losses.mean(), rel=1e-6)
    assert np.isfinite(gradient.asnumpy()).all()


def test_bad_settings_name_the_value():
    with pytest.raises(ValueError, match="smooth = 1.0"):
        SoftmaxCrossEntropy(10, 1.0)
    with pytest.raises(ValueError, match="smooth_off = 'k'"):
        SoftmaxCrossEntropy(10, 0.1, "k")
