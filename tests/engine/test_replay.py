"""`python -m launch.replay` on a crash dump of a real network."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor
from small_net import images_and_labels

from cellwright.engine import (
    Checkpoints,
    Diverged,
    LossScale,
    Momentum,
    SoftmaxCrossEntropy,
    Trainer,
    TrainOneStep,
)
from cellwright.nets import create_network, recipe_for

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_crash_dump_of_tiny_darknet_runs_again_from_the_command_line(tmp_path):
    recipe = dataclasses.replace(recipe_for("tinydarknet"), num_classes=10, image_size=32)
    network = create_network("tinydarknet", 10, 32, **recipe.network_settings)
    gamma = network.conv9.bn.gamma
    gamma.set_data(Tensor(np.full(gamma.shape, 3e38, np.float32)))
    step = TrainOneStep(
        network,
        SoftmaxCrossEntropy(10, recipe.label_smooth_factor, recipe.smooth_off),
        Momentum(network.trainable_params(), recipe.momentum, recipe.weight_decay, recipe.decays),
        normalise=(recipe.mean, recipe.std),
        loss_scale=LossScale.fixed(1024),
    )
    trainer = Trainer(
        step,
        [images_and_labels(4, size=32)],
        [0.1],
        epochs=1,
        folder=tmp_path,
        overflow_limit=1,
        checkpoints=Checkpoints(tmp_path / "checkpoints", recipe=dataclasses.asdict(recipe)),
    )
    with pytest.raises(Diverged):
        trainer.run()
    done = subprocess.run(
        [sys.executable, "-m", "launch.replay", str(trainer.crash_dumps[0])],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "step 0 of rank 0 of 1: 1 steps in a row overflowed" in done.stdout
    assert "then: first not finite was output of layer conv9.bn" in done.stdout
    assert "here: first not finite is output of layer conv9.bn" in done.stdout
    assert "not finite, loss scale 1024" in done.stdout
