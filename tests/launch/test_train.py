"""The real thing: launch.train and launch.eval, alone and under mpirun, on the embedded images."""

import json
import shutil

import numpy as np
import pytest
import yaml
from runs import command, complaints, metrics

STEP_FIELDS = {"step", "epoch", "loss", "lr", "loss_scale", "step_ms", "wait_ms", "images_per_s"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def train(cache, folder, *flags, ranks=None, **options):
    line = ("--run_dir", folder, *flags)
    return command("launch.train", *line, ranks=ranks, XDG_CACHE_HOME=str(cache), **options)


def counts(cache, run, ranks, tmp_path, *flags):
    output = tmp_path / f"eval-{ranks}.json"
    command("launch.eval", "--ckpt", run, "--json", output, *flags, ranks=ranks, XDG_CACHE_HOME=str(cache))
    return json.loads(output.read_text())


@pytest.mark.parametrize(
    "ranks", [None, pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
def test_a_run_leaves_what_it_promises(cache, tmp_path, ranks):
    run = tmp_path / "run"
    flags = ("--net", "tinydarknet", "--max_steps", 4, "--batch_size", 16, "--overlap", "auto")
    done = train(cache, run, *flags, ranks=ranks)
    assert "overlap off: all ranks are on one host" in done.stdout
    assert "embedded cut of Fashion-MNIST" in done.stdout
    assert f"run folder: {run}" in done.stdout and "-m launch.eval" in done.stdout
    assert not complaints(done)
    records = metrics(run)
    assert [record["step"] for record in records] == [0, 1, 2, 3]
    assert all(set(record) == STEP_FIELDS for record in records)
    assert all(np.isfinite(record["loss"]) for record in records)
    result = json.loads((run / "eval.json").read_text())
    assert set(result) == {"top1_correct", "top5_correct", "total", "loss"}
    assert result["total"] == 1000
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["run"]["net"] == "tinydarknet" and config["recipe"]["batch_size"] == 16
    assert config["world"]["ranks"] == (ranks or 1)
    assert (run / "logs").is_dir() and list((run / "checkpoints").iterdir())


@pytest.mark.alone  # the form of bfloat16 is found by a trial
def test_a_start_finds_the_programs_of_graphs_that_another_compiled_in_its_own_dtype(cache, tmp_path):
    flags = ("--net", "tinydarknet", "--max_steps", 2, "--batch_size", 16, "--eval_interval", 0)
    flags += ("--loss_scale", 1, "--amp_level")  # the very same recipe
    losses = {}
    for start in ("O2", "O2 again", "O0"):
        train(cache, tmp_path / start, *flags, start[:2])
        losses[start] = [record["loss"] for record in metrics(tmp_path / start)]
    assert losses["O2"] == losses["O2 again"]
    assert losses["O0"] == pytest.approx(losses["O2"], rel=0.02)
    counted = {start: counts(cache, tmp_path / start, None, tmp_path)["loss"] for start in losses}
    assert counted["O2"] == counted["O2 again"]
    assert counted["O0"] == pytest.approx(counted["O2"], rel=0.02) and counted["O0"] != counted["O2"]


@pytest.fixture(scope="module")
def tiny_run(cache, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "tiny"
    train(cache, run, "--net", "tinydarknet", "--max_steps", 60)
    return run


@pytest.mark.slow
def test_every_rank_count_and_batch_size_evaluates_to_the_same_counts(cache, tiny_run, tmp_path):
    alone = counts(cache, tiny_run, None, tmp_path)
    assert alone == json.loads((tiny_run / "eval.json").read_text())
    assert alone["total"] == 1000
    for ranks, flags in ((2, ()), (3, ("--batch_size", "17")), (7, ("--batch_size", "64"))):
        other = counts(cache, tiny_run, ranks, tmp_path, *flags)
        assert {name: other[name] for name in other if name != "loss"} == {
            name: alone[name] for name in alone if name != "loss"
        }
        assert other["loss"] == pytest.approx(alone["loss"], rel=1e-5)


def test_a_resumed_run_takes_the_very_steps_of_a_straight_one(cache, tmp_path):
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    flags = ("--net", "tinydarknet", "--batch_size", 16, "--eval_interval", 0)
    train(cache, straight, *flags, "--max_steps", 6)
    train(cache, stopped, *flags, "--max_steps", 2)
    for steps, workers in ((4, 1), (6, 3)):
        command(
            "launch.train", "--resume", stopped, "--max_steps", steps, "--workers", workers, XDG_CACHE_HOME=str(cache)
        )
    losses = [[record["loss"] for record in metrics(run)] for run in (straight, stopped)]
    assert len(losses[0]) == 6 and losses[0] == losses[1]
    ends = [(run / "checkpoints" / "e0000_b000006" / "weights.ckpt").read_bytes() for run in (straight, stopped)]
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    "net, steps, flags",
    # At its recipe's 0.05 DenseNet121's first thirty losses rise and fall by half: 0.95 here, 0.8 on another machine.
    [
        pytest.param("densenet121", 30, ("--lr", 0.02), marks=pytest.mark.slow),
        ("tinydarknet", 60, ()),
        pytest.param("genet", 40, (), marks=pytest.mark.slow),
        pytest.param("vgg16", 30, (), marks=pytest.mark.slow),
    ],
)
def test_the_loss_of_every_net_falls(cache, tmp_path, net, steps, flags):
    train(cache, tmp_path / "run", "--net", net, "--max_steps", steps, "--eval_interval", 0, *flags)
    losses = [record["loss"] for record in metrics(tmp_path / "run")]
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:4])


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--net", "resnet"), "--net 'resnet': allowed are densenet121, tinydarknet, genet, vgg16, mindcv:NAME"),
        (("--epoch", "3"), "unknown flag --epoch; did you mean --epochs?"),
        (("--net", "genet", "--lr", "-1"), "lr=-1.0"),
        (("--data_path", "/nowhere"), "--data_path /nowhere: no such file or folder"),
        (("--batch_size", "8000"), "do not fill one batch of --batch_size 8000 on 2 ranks"),
        (("--resume", "/nowhere"), "/nowhere"),
        (("--device_target", "GPU"), "--device_target GPU: MindSpore cannot use it here"),
        (("--val_data_path", "/tmp"), "--val_data_path without --data_path"),
        (("--workers", "0"), "--workers 0: must be at least 1"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(cache, tmp_path, flags, message):
    ranks = 2 if "--batch_size" in flags else None
    done = train(cache, tmp_path / "run", *flags, ranks=ranks, check=False)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("python -m launch.train")]
    assert len(errors) == 1 and message in errors[0]
    assert "Traceback" not in done.stderr


def test_a_folder_of_ones_own_sets_the_class_count(cache, tmp_path):
    from cellwright.launch.settings.embedded_images import embedded_dataset

    source = embedded_dataset(cache / "cellwright")
    for split in ("train", "val"):
        for name in ("0-t-shirt", "1-trouser", "7-sneaker"):
            target = tmp_path / "data" / split / name
            target.mkdir(parents=True)
            for path in sorted((source / split / name).iterdir())[:40]:
                shutil.copy(path, target)
    run = tmp_path / "run"
    flags = ("--net", "tinydarknet", "--data_path", tmp_path / "data", "--image_size", 32, "--batch_size", 16)
    train(cache, run, *flags, "--max_steps", 3, "--lr", 0.01)
    assert json.loads((run / "eval.json").read_text())["total"] == 120
    assert yaml.safe_load((run / "config.yaml").read_text())["run"]["data_path"] == str(tmp_path / "data")


def test_one_run_folder_is_never_used_twice(cache, tiny_run):
    done = train(cache, tiny_run, "--net", "tinydarknet", check=False)
    assert done.returncode == 2 and "already holds a run" in done.stderr
