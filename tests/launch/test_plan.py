import dataclasses
from types import SimpleNamespace

import pytest
from runs import command, complaints

from cellwright.launch.dry_run import check_points
from cellwright.launch.settings.resolve import read_settings


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    flags = (
        "--net",
        "tinydarknet",
        "--batch_size",
        10,
        "--accumulate",
        2,
        "--run_dir",
        folder / "run",
        "--bucket_mb",
        1,
        "--shard_update",
        "False",  # with it there would be no buckets
    )
    done = command("launch.train", *flags, "--dry_run", ranks=2)
    assert not complaints(done) and not (folder / "run").exists()
    return done.stdout


@pytest.mark.parametrize(
    "line",
    [
        "world: 2 ranks on ",
        "back end mpi\n",
        "data: 14000 training images in 10 classes, 1000 held back\n",
        "steps: 350 an epoch of 10 x 2 ranks x 2 accumulated = 40 images, 3 epochs, 1050 steps in all\n",
        "  step 0 (epoch 0): ",
        "  step 1049 (epoch 2): ",
        "cores\n  rank 0 on ",
        "  bucket 0: ",
        "memory of one rank, about ",
        "checkpoints: every ",
        "run folder: ",
    ],
)
def test_the_whole_plan_is_said_and_nothing_is_done(plan, line):
    assert line in plan


def test_the_buckets_hold_every_gradient_once(plan):
    counts = [int(line.split(" MB, ")[1].split()[0]) for line in plan.splitlines() if line.startswith("  bucket")]
    from cellwright.nets import create_network, recipe_for

    recipe = recipe_for("tinydarknet", "imagenet2012")
    network = create_network("tinydarknet", 10, 32, **recipe.network_settings)
    assert len(counts) > 1 and sum(counts) == len(network.trainable_params())


def test_more_ranks_than_devices_is_one_line():
    flags = ("--net", "tinydarknet", "--device_target", "GPU", "--dry_run")
    done = command("launch.train", *flags, ranks=2, check=False, CUDA_VISIBLE_DEVICES="0")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("python -m launch.train")]
    assert "2 ranks on this host, but local rank 1 may use 1 GPU device (0)" in line


def test_check_points_tell_the_schedule():
    (resolved,) = read_settings(["--net", "tinydarknet", "--warmup_epochs", "2", "--hold_epochs", "1"], "launch.train")
    recipe = dataclasses.replace(resolved.recipe, lr_scheduler="exponential", lr_epochs=(4, 90))
    assert check_points(recipe, 10, 60) == [0, 15, 20, 30, 40, 45, 59]
    assert check_points(recipe, 10, 1) == [0]


def test_moments_that_ranks_share_are_counted_once_a_host(monkeypatch):
    from cellwright.launch import dry_run
    from cellwright.launch.settings.resolve import read_settings
    from cellwright.nets import create_network

    monkeypatch.setattr(dry_run, "layer_outputs", lambda network, image_size: 0)  # it changes MindSpore's mode
    found, network = {}, create_network("tinydarknet", 10, 32)
    for shared in (False, True):
        flags = ["--net", "tinydarknet", "--shard_update", str(shared)]
        line = dry_run.memory_lines(network, *read_settings(flags, "program"), 2, ranks=2)[1]
        found[shared] = float(line.split("state ")[1].split()[0])
    assert found[True] == pytest.approx(0.75 * found[False], abs=0.1), "gradients whole, moments in halves"


@pytest.mark.parametrize(
    "flags, none", [((), True), (("--clip_norm", "1"), False), (("--drop_overflow", "True"), False)]
)
def test_sums_that_an_update_makes_on_its_way_travel_in_no_buckets(flags, none):
    from cellwright.launch.dry_run import bucket_lines
    from cellwright.nets import create_network

    (resolved,) = read_settings(["--net", "tinydarknet", *flags], "launch.train")
    network = create_network("tinydarknet", 10, 32)
    one_host, two = (bucket_lines(network, resolved, SimpleNamespace(size=4, local_size=n))[0] for n in (4, 2))
    assert ("none" in one_host) == none and "none" not in two
