"""Fine-tuning: frozen norms, learning rates by depth, a new head, for the four networks."""

import shutil

import numpy as np
import pytest
from mindspore import load_checkpoint
from photos import photos_of
from runs import command, metrics

from cellwright.launch.build import build_network, fine_tuning
from cellwright.launch.settings.resolve import read_settings
from cellwright.launch.settings.step_settings import StepSettings
from cellwright.nets import create_network, stages

NETS = ("densenet121", "genet", "tinydarknet", "vgg16")


@pytest.fixture(scope="module")
def networks():
    """name -> the network of its recipe for the embedded images."""
    return {net: build_network(read_settings(["--net", net], "program")[0].recipe) for net in NETS}


@pytest.mark.parametrize("net", NETS)
def test_every_parameter_is_of_one_stage_and_the_head_is_the_last(networks, net):
    network = networks[net]
    names = [parameter.name for parameter in network.get_parameters()]
    found = [[name for name in names if any(name.startswith(p[:-1]) for p in stage)] for stage in stages(network)]
    assert sorted(name for stage in found for name in stage) == sorted(names)
    assert all(name.startswith(network.head_prefix) for name in found[-1]) and len(found) > 5
    # In the order of the network itself, from the images on.
    assert [name for stage in found for name in stage] == names


@pytest.mark.parametrize("net", NETS)
def test_rates_fall_from_the_head_to_the_images_and_norms_stay(networks, net):
    network = networks[net]
    groups = fine_tuning(network, StepSettings(freeze_batch_norm=True, lr_depth_factor=0.5))
    trained = [parameter.name for parameter in network.trainable_params()]
    assert not any(name.endswith((".gamma", ".beta")) for name in trained if not name.startswith(network.head_prefix))
    factors = [next(group.lr_factor for group in groups if group.holds(name)) for name in trained]
    assert factors == sorted(factors) and factors[-1] == 1 and factors[0] == 0.5 ** (len(stages(network)) - 1)


def test_what_would_do_nothing_is_refused():
    with pytest.raises(ValueError, match="statistics of a new network are worth nothing"):
        read_settings(["--freeze_batch_norm"], "program")
    with pytest.raises(ValueError, match="--lr_depth_factor 2.0: must be a share"):
        StepSettings(lr_depth_factor=2.0)
    with pytest.raises(ValueError, match="this vgg16 has no BatchNorm"):
        fine_tuning(create_network("vgg16", 3, 32, hidden=8), StepSettings(freeze_batch_norm=True))


@pytest.fixture(scope="module")
def three_classes(tmp_path_factory):
    return photos_of(tmp_path_factory.mktemp("photos"), splits=("train",)) / "train"


def last_weights(run):
    (path,) = (run / "checkpoints").glob("*/weights.ckpt")
    return {name: value.asnumpy() for name, value in load_checkpoint(str(path)).items()}


@pytest.mark.slow
def test_a_run_is_tuned_to_other_classes_by_both_kinds_of_kernels(three_classes, tmp_path):
    first = tmp_path / "first"
    train = ("--net", "tinydarknet", "--image_size", 32, "--eval_interval", 0, "--batch_size", 24)
    command("launch.train", "--run_dir", first, *train, "--max_steps", 40)
    before, losses, found = last_weights(first), [], []
    tune = ("--pretrained", first, "--data_path", three_classes, "--freeze_batch_norm", "--lr_depth_factor", 0.3)
    for kernels in ("auto", "stock"):
        run = tmp_path / kernels
        flags = ("--run_dir", run, "--max_steps", 2, "--kernels", kernels, "--lr", 0.02, "--flip", 0)
        done = command("launch.train", *train, *tune, *flags)
        assert "head of 10 classes left out, this network has 3" in done.stderr
        losses.append([record["loss"] for record in metrics(run)])
        found.append(last_weights(run))
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-4)
    for after in found:
        for name, value in before.items():
            if name.startswith("conv16."):
                continue
            frozen = name.endswith((".gamma", ".beta", ".moving_mean", ".moving_variance"))
            assert np.array_equal(after[name], value) == frozen, name
        # The images' end of the network moves least, though its gradients are not the smallest.
        moved = [np.abs(after[f"conv{k}.conv.weight"] - before[f"conv{k}.conv.weight"]).max() for k in (1, 15)]
        assert moved[0] < 0.3 * moved[1]
    assert found[0]["conv16.bn.moving_mean"].any()
    shutil.rmtree(first)  # a run that goes on needs it no more
    command("launch.train", "--resume", tmp_path / "auto", "--max_steps", 3)
    assert len(metrics(tmp_path / "auto")) == 3
