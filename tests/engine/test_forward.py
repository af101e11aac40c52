"""Steps of any forward function: batches, aux, weights of parts, errors in one line."""

import mindspore as ms
import numpy as np
import pytest
from any_forward import (
    Line,
    Pieces,
    Tupled,
    WithUnused,
    classified,
    data,
    distil,
    gradient,
    nested,
    squares,
    vector_loss,
)
from mindspore import Tensor
from small_net import SmallNet, images_and_labels, step_of

from cellwright.engine import LossScale, Momentum, SoftmaxCrossEntropy, TrainOneStep


def line_step(make, network=None, **settings):
    network = network or Line()
    return TrainOneStep(
        forward=make(network), optimizer=Momentum(network.trainable_params(), 0.0), network=network, **settings
    )


def test_float_targets_give_the_gradient_of_the_formula_and_aux_comes_back():
    step = line_step(squares)
    x, target = data(6)
    before = step.network.dense.weight.asnumpy().copy()
    report = step(x, Tensor(target), lr=1.0)
    expected = before - gradient(before, x, target)
    np.testing.assert_allclose(step.network.dense.weight.asnumpy(), expected, rtol=1e-5)
    assert report.aux["out"].shape == (6, 1)
    np.testing.assert_array_equal(report.aux["parts"][1].asnumpy(), target)
    assert report.loss == pytest.approx(float(report.aux["parts"][0].asnumpy().mean()), rel=1e-6)


def test_the_network_is_found_among_the_names_of_the_function_and_a_teacher_is_none():
    student, teacher = Line(seed=1), Line(seed=2, prefix="teacher.")
    teacher.set_train(False)
    before = teacher.dense.weight.asnumpy().copy()
    step = TrainOneStep(forward=distil(student, teacher), optimizer=Momentum(student.trainable_params(), 0.0))
    assert step.network is student
    losses = [step(data(8)[0], lr=0.1).loss for _ in range(10)]
    assert losses[-1] < 0.5 * losses[0] and not teacher.training
    np.testing.assert_array_equal(teacher.dense.weight.asnumpy(), before)


def test_a_nesting_of_many_dtypes_enters_as_it_is_and_compiles_once():
    step = line_step(nested)
    for number in range(3):
        views = (data(4, number)[0], Tensor(data(4, 9)[0]))
        mask = np.array([True, False, True, number > 0])
        times = [{"times": np.array([2, number], np.int64)}]
        weight = step.network.dense.weight.asnumpy().copy()
        report = step({"views": views, "mask": mask}, times, lr=0.01)
        expected = (((views[0] + views[1].asnumpy()) @ weight.T).ravel() * mask).sum() * (2 + number)
        assert report.loss == pytest.approx(expected, rel=1e-5)
    assert len(step.compilations) == 1
    step({"views": views, "mask": mask.astype(np.uint8)}, times, lr=0.01)
    assert step.compilations[1].changed == "0.mask Bool[4] -> UInt8[4]"


@pytest.mark.parametrize("parts", [(5, 3), (7, 1, 4)])
def test_accumulated_parts_count_by_their_length(parts):
    x, target = data(sum(parts))
    whole, cut = line_step(squares), line_step(squares, accumulate=len(parts))
    expected = whole(x, target, lr=0.5)
    start = 0
    for length in parts:
        report = cut(x[start : start + length], target[start : start + length], lr=0.5)
        start += length
    assert report.loss == pytest.approx(expected.loss, rel=1e-5)
    np.testing.assert_allclose(
        cut.network.dense.weight.asnumpy(), whole.network.dense.weight.asnumpy(), rtol=1e-5, atol=1e-7
    )


def test_accumulated_images_count_by_their_weights():
    images, labels = images_and_labels(16)
    weights = np.array([1] * 8 + [1, 1, 1] + [0] * 5, np.float32)
    results = []
    for accumulate in (1, 2):
        net = SmallNet(norm=False)
        step = step_of(net, accumulate=accumulate)
        for part in np.split(np.arange(16), accumulate):
            report = step(images[part], labels[part], weights[part], lr=0.5)
        results.append((report.loss, net.head.weight.asnumpy()))
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-6)
    np.testing.assert_allclose(results[1][1], results[0][1], rtol=1e-5, atol=1e-7)


def overflowing(number):
    """A batch of float32 images, labels and weights; the third one's loss is infinite."""
    images, labels = images_and_labels(8, seed=number)
    weights = np.full(8, np.inf if number == 2 else 1.0, np.float32)
    return images.transpose(0, 3, 1, 2).astype(np.float32) / 100, labels, weights


def test_every_setting_acts_on_a_function_as_on_a_network_and_its_loss():
    settings = {"loss_scale": LossScale.dynamic(init=1024, window=2), "clip_norm": 0.1, "ema": 0.9, "accumulate": 2}
    found = []
    for as_function in (False, True):
        net, loss = SmallNet(), SoftmaxCrossEntropy(10)
        form = {"forward": classified(net, loss)} if as_function else {"network": net, "loss": loss}
        step = TrainOneStep(optimizer=Momentum(net.trainable_params()), **form, **settings)
        reports = [step(*overflowing(number), lr=0.1, count=1.0) for number in range(8)][1::2]
        assert [report.finite for report in reports] == [True, False, True, True]
        assert [report.loss_scale for report in reports] == [1024, 1024, 512, 512] and reports[3].gradient_norm > 0.1
        found.append({p.name: p.asnumpy() for p in [*net.get_parameters(), *step.state_parameters()]})
    for name, value in found[0].items():
        np.testing.assert_array_equal(found[1][name], value, err_msg=name)


def test_the_pieces_of_a_step_make_the_step():
    settings = {"loss_scale": LossScale.dynamic(init=1024, window=2), "clip_norm": 0.1}
    whole, own = SmallNet(norm=False), SmallNet(norm=False)
    optimizers = [Momentum(net.trainable_params()) for net in (whole, own)]
    step = TrainOneStep(forward=classified(whole, SoftmaxCrossEntropy(10)), optimizer=optimizers[0], **settings)
    pieces = Pieces(classified(own, SoftmaxCrossEntropy(10)), optimizers[1], **settings)
    for number in range(5):
        report = step(*overflowing(number), lr=0.1)
        numbers = pieces(tuple(map(Tensor, overflowing(number))), Tensor(0.1, ms.float32)).asnumpy()
        assert (
            tuple(numbers[1:4]) == (report.finite, report.loss_scale, np.float32(report.gradient_norm)) or number == 2
        )
        assert report.finite == numbers[1] == (number != 2)
    for a, b in zip(whole.get_parameters(), own.get_parameters()):
        np.testing.assert_array_equal(a.asnumpy(), b.asnumpy())


def test_mixed_labels_are_not_cast():
    images, labels = images_and_labels(8)
    shares = np.eye(10, dtype=np.float32)[labels]
    losses = []
    for given in (labels, shares, labels.astype(np.int64), 0.5 * shares + 0.5 * np.roll(shares, 1, axis=1)):
        losses.append(step_of(SmallNet(norm=False))(images, given, lr=0.0).loss)
    assert losses[0] == losses[2] == pytest.approx(losses[1], rel=1e-6)
    assert abs(losses[3] - losses[0]) > 1e-3


def test_labels_that_are_no_class_are_refused_unless_they_are_padding():
    step = step_of(SmallNet())
    images, labels = images_and_labels(4)
    for wrong in (-1, 10):
        with pytest.raises(ValueError, match=f"label {wrong}: must be from 0 to 9"):
            step(images, np.array([1, 2, wrong, 3]), lr=0.1)
    with pytest.raises(ValueError, match="Float|float32.* as shares of classes"):
        step(images, labels.astype(np.float32), lr=0.1)
    assert step.compilations == []
    assert step(images, np.array([1, 2, 3, -1]), np.array([1, 1, 1, 0]), lr=0.1).finite


def test_learning_rates_that_are_no_number_are_refused():
    step = step_of(SmallNet())
    for wrong, said in (
        ([0.1, 0.2], "must be one number a step"),
        (float("nan"), "finite"),
        (None, "give the step one"),
    ):
        with pytest.raises(ValueError, match=said):
            step(*images_and_labels(4), lr=wrong)


def test_what_cannot_work_is_one_line_before_the_first_step():
    network = Line()
    with pytest.raises(
        ValueError, match=r"^forward returned a loss of shape \(5, 1\): it must be a scalar \(batch: 0 "
    ):
        line_step(vector_loss)(data(5)[0], lr=0.1)
    with pytest.raises(ValueError) as error:
        line_step(squares)(np.zeros((5, 3), np.float32), np.zeros((5, 1), np.float32), lr=0.1)
    assert "0 Float32[5, 3], 1 Float32[5, 1]" in str(error.value) and len(str(error.value).splitlines()) == 1
    with pytest.raises(ValueError, match="optimizer: dense.weight is no parameter of this network"):
        TrainOneStep(network, SoftmaxCrossEntropy(10), Momentum(Line().trainable_params()))
    with pytest.raises(ValueError, match="forward reaches no cell that holds dense.weight"):
        TrainOneStep(forward=squares(network), optimizer=Momentum(Line().trainable_params()))
    with pytest.raises(ValueError, match=r"the network returned 2 outputs, .* forward=function") as error:
        TrainOneStep(tupled := Tupled(outputs=2), SoftmaxCrossEntropy(2), Momentum(tupled.trainable_params()))(
            data(5)[0], np.zeros(5, np.int32), lr=0.1
        )
    assert len(str(error.value).splitlines()) == 1
    step = line_step(squares, WithUnused())
    with pytest.raises(ValueError, match="forgotten gets no gradient"):
        step(*data(5), lr=0.1)
    assert step.begin.steps.asnumpy() == 0
    network.dense.weight.requires_grad = False
    with pytest.raises(ValueError, match="dense.weight is frozen"):
        Momentum([network.dense.weight])


def test_gradients_and_norms_by_layer_leave_everything_as_it_was():
    step = step_of(SmallNet(), loss_scale=8.0)
    images, labels = images_and_labels(8)
    step(images, labels, lr=0.1)
    before = {p.name: p.asnumpy().copy() for p in [*step.network.get_parameters(), *step.state_parameters()]}
    gradients, norms = step.gradients_of(images, labels), step.gradient_norms(images, labels)
    for parameter in [*step.network.get_parameters(), *step.state_parameters()]:
        np.testing.assert_array_equal(parameter.asnumpy(), before[parameter.name])
    assert norms.keys() == {"conv", "norm", "head"}
    expected = np.sqrt(sum((gradients[f"head.{name}"].astype(float) ** 2).sum() for name in ("weight", "bias")))
    assert norms["head"] == pytest.approx(expected, rel=1e-6)
    step(images, labels, lr=1.0)
    moved = before["head.weight"] - step.network.head.weight.asnumpy()
    momentum = 0.9 * before["moments.head.weight"] + gradients["head.weight"]
    np.testing.assert_allclose(moved, momentum, rtol=1e-3, atol=1e-5)


def test_a_frozen_norm_stays_frozen_and_a_thawed_one_compiles_again():
    step = step_of(SmallNet())
    norm = step.network.norm
    images, labels = images_and_labels(8)
    norm.set_train(False)
    before = norm.moving_mean.asnumpy().copy()
    step(images, labels, lr=0.1)
    np.testing.assert_array_equal(norm.moving_mean.asnumpy(), before)
    norm.set_train(True)
    step(images, labels, lr=0.1)
    assert not np.array_equal(norm.moving_mean.asnumpy(), before)
    assert step.compilations[1].changed == "layers were frozen or thawed"
