"""The compiled step against the same step in float64, 20 steps each."""

import numpy as np
import pytest
from oracle import Oracle
from small_net import NORMALISE, SmallNet, images_and_labels

from cellwright.engine import LossScale, Momentum, SoftmaxCrossEntropy, TrainOneStep
from cellwright.kernels.csrc import shim_available
from cellwright.kernels.nodes.optimizer import AllFinite, MomentumStep

STEPS, BATCH = 20, 12


def decays(name):
    return name.endswith("weight")


def relative_error(got, expected):
    return np.abs(got - expected).max() / np.abs(expected).max()


CASES = {
    "no norm": {"norm": False},
    "fixed scale": {"loss_scale": LossScale.fixed(1024)},
    "fixed scale, applied": {"loss_scale": LossScale.fixed(1024, drop_overflow=False)},
    "overflows": {"loss_scale": LossScale.dynamic(init=256, window=4), "poisoned": (3, 4, 11)},
    "clip": {"clip_norm": 0.3},
    "nesterov": {"nesterov": True},
    "ema": {"ema": 0.95},
    "accumulation": {"accumulate": 3},
    "everything": {
        "loss_scale": LossScale.dynamic(init=256, window=4),
        "poisoned": (5,),
        "clip_norm": 0.3,
        "ema": 0.95,
        "accumulate": 2,
        "nesterov": True,
    },
}


def with_stock_operators():
    return {}, {}


def with_kernels():
    if not shim_available():
        pytest.skip("the C shim is not built")
    return {"kernel": MomentumStep}, {"finite_kernel": AllFinite()}


STOCK = [(case, with_stock_operators) for case in CASES]
OWN = [(case, with_kernels) for case in ("no norm", "overflows", "nesterov", "everything")]


@pytest.mark.parametrize("case, operators", STOCK + OWN)
def test_twenty_steps_agree_to_1e_5(case, operators):
    settings = dict(CASES[case])
    for_optimizer, for_step = operators()
    poisoned, nesterov = settings.pop("poisoned", ()), settings.pop("nesterov", False)
    micro, scale = settings.get("accumulate", 1), settings.get("loss_scale", LossScale.none())
    net = SmallNet(norm=settings.pop("norm", True))
    oracle = Oracle(
        net,
        NORMALISE,
        momentum=0.9,
        weight_decay=0.01,
        decays=decays,
        smooth=0.1,
        scale=scale.init,
        window=scale.window if scale.is_dynamic else None,
        clip=settings.get("clip_norm"),
        ema=settings.get("ema"),
        nesterov=nesterov,
    )
    optimizer = Momentum(net.trainable_params(), 0.9, 0.01, decays, nesterov=nesterov, **for_optimizer)
    step = TrainOneStep(net, SoftmaxCrossEntropy(10, 0.1), optimizer, normalise=NORMALISE, **for_step, **settings)
    clipped = 0
    for number in range(STEPS):
        lr = 0.2 * (1 - number / STEPS)
        images, labels = images_and_labels(BATCH * micro, seed=number)
        parts = [(images[i::micro], labels[i::micro]) for i in range(micro)]
        # A loss of weight infinity: gradients overflow in the compiled step as poison makes them in the oracle.
        weights = np.full(BATCH, np.inf, np.float32) if number in poisoned else None
        expected = oracle.step(parts, lr, poison=np.inf if number in poisoned else 1.0)
        for part in parts:
            report = step(*part, weights, lr=lr)
        assert report.finite == (number not in poisoned)
        if report.finite:
            assert report.loss == pytest.approx(expected, rel=1e-5)
            clipped += report.gradient_norm is not None and report.gradient_norm > 0.3
    assert step.update.scale.value.asnumpy() == oracle.scale
    if "clip_norm" in settings:
        assert clipped > 5, "the limit never mattered"
    for parameter in net.get_parameters():
        assert relative_error(parameter.asnumpy(), oracle.p[parameter.name]) <= 1e-5, parameter.name
    for moment in optimizer.moments:
        assert relative_error(moment.asnumpy(), oracle.v[moment.name.removeprefix("moments.")]) <= 1e-5, moment.name
    if step.ema:
        for average in step.ema.average:
            assert relative_error(average.asnumpy(), oracle.average[average.name.removeprefix("ema.")]) <= 1e-5
