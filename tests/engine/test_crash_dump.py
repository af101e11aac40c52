import io
import json

import numpy as np
import pytest
from any_forward import Line, squares
from mindspore import Tensor, nn
from safetensors.numpy import save_file
from small_net import NORMALISE, ConvNet, SmallNet, batches

from cellwright import engine
from cellwright.engine import (
    Diverged,
    LossScale,
    Momentum,
    SoftmaxCrossEntropy,
    Trainer,
    TrainOneStep,
    read_crash_dump,
    replay,
)
from cellwright.kernels.compiler import accelerate, accelerated
from cellwright.kernels.csrc import shim_available


class WithIds(tuple):
    ids = None


def data(count=4):
    made = []
    for number, batch in enumerate(batches(count, 8)):
        batch = WithIds(batch)
        batch.ids = np.arange(8, dtype=np.int64) + 8 * number
        made.append(batch)
    return made


def make(folder, loss_scale, spoil=None, value=3e38, **settings):
    net = ConvNet() if settings.pop("fused", False) else SmallNet()
    if spoil:
        parameter = net.parameters_dict()[spoil]
        parameter.set_data(Tensor(value * np.sign(parameter.asnumpy())))
    accumulate = settings.pop("accumulate", 1)
    if isinstance(net, ConvNet):
        accelerate(net)
        assert accelerated(net)
    step = TrainOneStep(
        net,
        SoftmaxCrossEntropy(10),
        Momentum(net.trainable_params(), 0.9),
        normalise=NORMALISE,
        loss_scale=loss_scale,
        accumulate=accumulate,
    )
    stream = io.StringIO()
    return Trainer(step, data(), np.full(4, 0.1), epochs=1, folder=folder, stream=stream, **settings), stream


@pytest.mark.parametrize(
    "spoil, value, scale, layer",
    [
        ("conv.weight", 3e38, LossScale.fixed(4.0), "output of layer conv"),
        ("head.weight", 3e38, LossScale.fixed(4.0), "output of layer head"),
        ("head.weight", 1e5, LossScale.fixed(2.0**127), "gradient of norm.beta, at loss scale 1.70141e+38"),
    ],
)
def test_overflows_in_a_row_end_the_run_with_a_crash_dump_that_names_the_layer(tmp_path, spoil, value, scale, layer):
    trainer, _ = make(tmp_path, scale, spoil, value, overflow_limit=3)
    before = {p.name: p.asnumpy().copy() for p in trainer.step.network.get_parameters()}
    with pytest.raises(Diverged, match="step 2: 3 steps in a row overflowed"):
        trainer.run()
    assert trainer.crash_dumps[-1] == tmp_path / "crash_dumps" / "step2"
    dump = read_crash_dump(trainer.crash_dumps[-1])
    assert dump.meta["first_nonfinite"] == layer
    assert dump.ids.tolist() == list(range(16, 24))
    assert dump.meta["broken_loss_scale"] == pytest.approx(scale.init)
    for name, value in before.items():
        np.testing.assert_array_equal(dump.parameters[name], value)

    again, _ = make(tmp_path / "again", scale)
    found, report = replay(dump, again.step)
    assert found == layer and not report.finite


def test_one_overflow_is_told_and_survived(tmp_path):
    scale = LossScale.dynamic(init=2.0**127, ceiling=2.0**127, backoff=2.0**-20)
    trainer, _ = make(tmp_path, scale, "head.weight", 1e5)
    trainer.run()
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["loss_scale"] for record in records[:3]] == [2.0**127, 2.0**107, 2.0**107]


def test_one_infinite_loss_leaves_a_crash_dump_and_the_run_goes_on(tmp_path):
    trainer, stream = make(tmp_path, LossScale.fixed(4.0))
    images, labels = trainer.batches[1]
    trainer.batches[1] = (images, labels, np.full(8, np.inf, np.float32))
    trainer.run()
    assert [path.name for path in trainer.crash_dumps] == ["step1"]
    assert "step 1: the loss is nan; first not finite: loss;" in stream.getvalue()
    assert read_crash_dump(trainer.crash_dumps[0]).ids.tolist() == [-1] * 8


def test_a_loss_that_is_not_finite_ends_a_run_that_applies_overflows(tmp_path):
    trainer, _ = make(tmp_path, LossScale.none(), "head.weight")
    with pytest.raises(Diverged, match="step 0: the loss is .*first not finite: .*launch.replay"):
        trainer.run()
    assert read_crash_dump(trainer.crash_dumps[0]).meta["weights_are"] == "after the step"


def test_accumulated_micro_batches_go_into_one_crash_dump(tmp_path):
    trainer, _ = make(tmp_path, LossScale.fixed(4.0), "head.weight", accumulate=2, overflow_limit=2)
    with pytest.raises(Diverged):
        trainer.run()
    dump = read_crash_dump(trainer.crash_dumps[-1])
    assert dump.ids.tolist() == list(range(16, 32)) and dump.meta["micro_batches"] == 2


@pytest.mark.skipif(not shim_available(), reason="the C shim is not built")
def test_layers_that_run_as_one_kernel_are_told_apart(tmp_path):
    trainer, _ = make(tmp_path, LossScale.fixed(4.0), "body.3.weight", fused=True, overflow_limit=2)
    with pytest.raises(Diverged, match="first not finite: output of layer body.3;"):
        trainer.run()
    assert accelerated(trainer.step.network), "it does not run as one kernel any more"


def test_a_folder_that_is_no_crash_dump_is_named(tmp_path):
    with pytest.raises(ValueError, match="is not a crash dump"):
        read_crash_dump(tmp_path)


class Ring:
    """Batches like a loader's: views of one buffer that the next batch overwrites."""

    def __init__(self):
        self.made = data()

    def __len__(self):
        return len(self.made)

    def epoch(self, number, start=0):
        images, labels, ids = (np.empty_like(a) for a in (*self.made[0], self.made[0].ids))
        for batch in self.made[start:]:
            images[:], labels[:], ids[:] = *batch, batch.ids
            view = WithIds((images, labels))
            view.ids = ids
            yield view


def test_micro_batches_of_a_ring_are_asked_for_once_more(tmp_path):
    trainer, _ = make(tmp_path, LossScale.fixed(4.0), "head.weight", accumulate=2, overflow_limit=2)
    trainer.batches = Ring()
    with pytest.raises(Diverged):
        trainer.run()
    for number, path in enumerate(trainer.crash_dumps):
        dump = read_crash_dump(path)
        assert dump.ids.tolist() == list(range(16 * number, 16 * number + 16))
        for batch, (images, labels) in zip(dump.batches, data()[2 * number :]):
            np.testing.assert_array_equal(batch[0], images)
            np.testing.assert_array_equal(batch[1], labels)


def test_a_step_of_any_forward_leaves_a_crash_dump_that_runs_again(tmp_path):
    def step():
        network = Line()
        return TrainOneStep(
            forward=squares(network),
            optimizer=nn.Adam(network.trainable_params(), 0.1),
            loss_scale=LossScale.fixed(4.0),
        )

    x = np.ones((4, 4), np.float32)
    x[2, 1] = np.inf
    trainer = Trainer(step(), [(x, np.ones((4, 1), np.float32))], epochs=1, folder=tmp_path)
    trainer.run()
    dump = read_crash_dump(trainer.crash_dumps[0])
    assert dump.meta["first_nonfinite"] == "input of layer dense" and dump.ids.tolist() == [-1] * 4
    assert dump.meta["step_settings"]["optimizer"]["class"] == "mindspore.nn.optim.adam.Adam"
    np.testing.assert_array_equal(dump.batches[0][0], x)
    found, report = replay(dump, step())
    assert found == "input of layer dense" and not report.finite


def test_a_capsule_of_the_release_before_can_be_read_and_old_names_warn(tmp_path):
    images, labels = data()[0]
    np.savez(tmp_path / "batch.npz", images=images, labels=labels, weights=np.ones(8), ids=np.arange(8))
    meta = {"suspect": "loss", "micro_batches": 2, "lr": 0.1}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    for name in ("weights", "state"):
        save_file({"steps": np.array(3)}, tmp_path / f"{name}.safetensors")
    with pytest.warns(DeprecationWarning, match="engine.read_capsule is now engine.read_crash_dump"):
        dump = engine.read_capsule(tmp_path)
    assert dump.meta["first_nonfinite"] == "loss" and len(dump.batches) == 2
    np.testing.assert_array_equal(np.concatenate([batch[0] for batch in dump.batches]), images)
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = engine.nothing_of_ours
