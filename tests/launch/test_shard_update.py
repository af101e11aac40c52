"""--shard_update: the same run to the bit. Where it would do nothing: test_typed_lines.py."""

import shutil

import pytest
from runs import TINY, command, metrics
from safetensors.numpy import load_file

from cellwright.engine import Checkpoints
from cellwright.kernels.csrc import shim_available
from cellwright.launch.build import factored_gradients
from cellwright.nets import create_network


def saved(run):
    """The state of a run's newest checkpoint and its weights, as bytes by name."""
    newest = Checkpoints(run / "checkpoints").latest()
    state = {name: array.tobytes() for name, array in load_file(newest / "state.safetensors").items()}
    return state | {"weights": (newest / "weights.ckpt").read_bytes()}


@pytest.mark.slow
@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
def test_a_run_and_its_resumes_with_and_without_are_the_same_to_the_bit(tmp_path):
    def train(steps, *flags, ranks=2, **options):
        return command("launch.train", "--max_steps", steps, *flags, ranks=ranks, **options)

    for name, flags in (("alone", ("--shard_update", "False")), ("shared", ("--shard_update",))):
        train(3, *TINY, *flags, "--run_dir", tmp_path / name)
        shutil.copytree(tmp_path / name, tmp_path / f"{name}-crossed")
        other = "False" if name == "shared" else "True"
        for ranks in (1, 3):
            shutil.copytree(tmp_path / name, tmp_path / f"{name}-{ranks}")
        train(6, "--resume", tmp_path / name)
        train(6, "--resume", tmp_path / f"{name}-crossed", "--shard_update", other)
        if name == "shared":
            refused = train(6, "--resume", tmp_path / f"{name}-1", ranks=None, check=False)
            assert refused.returncode == 2 and "goes on with --shard_update False" in refused.stderr
        train(6, "--resume", tmp_path / f"{name}-1", "--shard_update", "False", ranks=None)
        train(6, "--resume", tmp_path / f"{name}-3", ranks=3)
    for one, others in (("alone", ("shared", "alone-crossed", "shared-crossed")), ("alone-3", ("shared-3",))):
        for other in others:
            assert [row["loss"] for row in metrics(tmp_path / one)] == [
                row["loss"] for row in metrics(tmp_path / other)
            ]
            assert saved(tmp_path / one) == saved(tmp_path / other)
    assert saved(tmp_path / "alone-1") == saved(tmp_path / "shared-1")


@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
def test_gradients_of_vgg16_s_second_dense_layer_come_as_factors():
    network = create_network("vgg16", 10, 32)
    assert [weight.name for weight in factored_gradients(network, 4).weights] == ["classifier.3.weight"]
    assert factored_gradients(network, 64) is None
    assert factored_gradients(create_network("tinydarknet", 10, 32), 4) is None


@pytest.mark.slow
@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
@pytest.mark.parametrize("level", ["O0", "O2"])
def test_a_run_with_gradients_that_come_as_factors_is_the_same_to_the_bit(tmp_path, level):
    flags = ("--net", "vgg16", "--batch_size", 4, "--image_size", 32, "--eval_interval", 0, "--amp_level", level)
    for share in ("True", "False"):
        about = ("--shard_update", share, "--run_dir", tmp_path / share)
        command("launch.train", "--max_steps", 3, *flags, *about, ranks=2)
    losses = [[row["loss"] for row in metrics(tmp_path / share)] for share in ("True", "False")]
    assert losses[0] == losses[1] and len(losses[0]) == 3
    assert saved(tmp_path / "True") == saved(tmp_path / "False")
