import json

import mindspore as ms
import numpy as np
import pytest
from small_net import NORMALISE, ChannelMeans, SmallNet, images_and_labels

from cellwright.engine import Evaluator, Metric, MetricEvaluator, SoftmaxCrossEntropy


class Ranks:
    """A world whose allreduce adds what the other ranks have left here."""

    rank, size = 0, 1

    def __init__(self, others):
        self.others = others

    def allreduce(self, array):
        self.others.append(array)
        return sum(self.others)


def split(images, labels, ranks, size):
    """This rank's batches, the last one padded with weight 0."""
    for rank in range(ranks):
        mine = np.arange(rank, len(labels), ranks)
        batches = []
        for start in range(0, len(mine), size):
            ids = mine[start : start + size]
            padded = np.concatenate([ids, np.zeros(size - len(ids), int)])
            batches.append((images[padded], labels[padded], (np.arange(size) < len(ids)).astype(np.float32)))
        yield batches


def test_same_counts_for_any_rank_count_and_batch_size():
    images, labels = images_and_labels(53)
    evaluator = Evaluator(SmallNet(), SoftmaxCrossEntropy(10, 0.1), normalise=NORMALISE)
    whole = evaluator([(images, labels)])
    assert 0 < whole.top1_correct < whole.top5_correct < whole.total == 53
    for ranks, size in ((1, 8), (2, 8), (3, 5), (7, 4)):
        evaluator.world = Ranks([])
        for batches in split(images, labels, ranks, size):
            result = evaluator(batches)
        assert result.numbers() == whole.numbers() | {"loss": pytest.approx(whole.loss, abs=1e-6)}, (ranks, size)


def test_a_short_last_batch_is_padded_not_counted(tmp_path):
    images, labels = images_and_labels(10)
    evaluator = Evaluator(SmallNet(), SoftmaxCrossEntropy(10), normalise=NORMALISE)
    result = evaluator([(images[:6], labels[:6]), (images[6:], labels[6:])])
    assert result.total == 10
    result.write(tmp_path / "eval.json")
    stored = json.loads((tmp_path / "eval.json").read_text())
    assert list(stored) == ["top1_correct", "top5_correct", "total", "loss"]
    assert result.zoo_lines()[0] == (
        f"after allreduce eval: top1_correct={result.top1_correct}, tot=10, acc={10 * result.top1_correct:.2f}%"
    )


def test_a_broken_sample_is_never_correct_and_shows_in_the_loss():
    images = np.zeros((3, 10, 4, 4), np.float32)
    images[:, 0] = 1.0
    images[1, 5] = np.nan
    result = Evaluator(ChannelMeans(), SoftmaxCrossEntropy(10))([(images, np.zeros(3, np.int32))])
    assert (result.top1_correct, result.top5_correct, result.total) == (2, 2, 3)
    assert np.isnan(result.loss)


def test_a_loss_that_sums_cannot_hold_is_none():
    images = np.zeros((3, 10, 4, 4), np.float32)
    images[1, 5] = 1e30
    assert np.isnan(Evaluator(ChannelMeans(), SoftmaxCrossEntropy(10))([(images, np.zeros(3, np.int32))]).loss)


def test_among_equal_logits_the_lower_class_wins():
    images = np.zeros((10, 10, 2, 2), np.float32)
    result = Evaluator(ChannelMeans(), SoftmaxCrossEntropy(10))([(images, np.arange(10, dtype=np.int32))])
    assert (result.top1_correct, result.top5_correct) == (1, 5)


class LargestOutput(Metric):
    """No mean: a row of counts, and the class that was said most often."""

    def sums(self, outputs, batch):
        return np.bincount(outputs["logits"].argmax(1)[batch[2] > 0], minlength=10)

    def result(self, total):
        return float(total.argmax())


class Sum(Metric):
    """The same number from each batch."""

    def __init__(self, value):
        self.value = value

    def sums(self, outputs, batch):
        return np.array([self.value])

    def result(self, total):
        return float(total[0])


def dict_outputs(network):
    def forward(images, labels, weights):
        return {"logits": network(images), "seen": images.shape[0]}

    return forward


@pytest.mark.parametrize("ranks, size", [(1, 12), (3, 2)])
def test_any_metric_of_any_output_is_exact_over_ranks_and_leaves_the_modes(ranks, size):
    images, labels = images_and_labels(12)
    images = images.transpose(0, 3, 1, 2).astype(np.float32)
    net = SmallNet()
    net.set_train(True)
    net.norm.set_train(False)
    metrics = {
        "right": lambda outputs, batch: outputs["logits"].argmax(1) == batch[1],
        "entropy": lambda outputs, batch: np.log(1 + np.abs(outputs["logits"]).sum(1)),
        "largest": LargestOutput(),
    }
    others = {}
    for batches in split(images, labels, ranks, size):
        world = OneByOne(others)
        evaluator = MetricEvaluator(
            dict_outputs(net), metrics, weights=lambda batch: batch[2], best="-entropy", world=world
        )
        result = evaluator(batches)
    assert (net.training, net.norm.training, net.conv.training) == (True, False, True)
    net.set_train(False)
    logits = net(ms.Tensor(images)).asnumpy()
    assert result.values["right"] == (logits.argmax(1) == labels).mean()
    assert result.values["entropy"] == pytest.approx(np.log(1 + np.abs(logits).sum(1)).mean(), abs=1e-6)
    assert result.values["largest"] == np.bincount(logits.argmax(1), minlength=10).argmax()
    assert result.score == -result.values["entropy"]


@pytest.mark.parametrize("value", [1e38, 1e11, np.inf])
def test_a_metric_whose_sum_cannot_be_held_is_none(value):
    evaluator = MetricEvaluator(SmallNet(), {"sum": Sum(value), "fine": lambda outputs, batch: np.ones(len(outputs))})
    images = images_and_labels(4)[0].transpose(0, 3, 1, 2).astype(np.float32)
    result = evaluator([(images,)] * 3)
    assert np.isnan(result.values["sum"]) and result.values["fine"] == 1.0


class OneByOne:
    """A world whose n-th allreduce adds what the other ranks have left at their n-th."""

    def __init__(self, left):
        self.left, self.number = left, 0

    def allreduce(self, array):
        self.number += 1
        mine = self.left.setdefault(self.number, [])
        mine.append(array)
        return sum(mine)


def test_an_evaluation_leaves_each_layer_in_its_mode():
    net = SmallNet()
    net.set_train(True)
    net.norm.set_train(False)
    Evaluator(net, SoftmaxCrossEntropy(10), normalise=NORMALISE)([images_and_labels(4)])
    assert (net.training, net.norm.training, net.head.training) == (True, False, True)
