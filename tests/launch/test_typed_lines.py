"""Lines that people typed in their first hours, and what they get."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml
from runs import ENVIRONMENT, ROOT, command, metrics

from cellwright.launch.settings.embedded import embedded_dataset

FLAGS = ("--net", "tinydarknet", "--image_size", 32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def typed(cache, module, *flags, **options):
    return command(module, *flags, XDG_CACHE_HOME=str(cache), check=False, **options)


def refused(done):
    """The one line of a refusal."""
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("python -m launch.")]
    return line


def photos_of(cache, folder, names, first=0, count=24, splits=("train", "val")):
    """A folder of photos: one class folder for each name, filled from another class of the embedded images each."""
    source = embedded_dataset(cache / "cellwright")
    for split in splits:
        for name, origin in zip(names, sorted((source / split).iterdir())):
            (folder / split / name).mkdir(parents=True)
            for path in sorted(origin.iterdir())[first : first + count]:
                shutil.copy(path, folder / split / name)
    return folder


@pytest.fixture(scope="module")
def photos(cache, tmp_path_factory):
    return photos_of(cache, tmp_path_factory.mktemp("photos"), ("2", "10", "9"))


@pytest.fixture(scope="module")
def first(cache, photos, tmp_path_factory):
    """The run folder and the output of a first run on photos/train."""
    run = tmp_path_factory.mktemp("runs") / "a run"
    flags = ("--data_path", photos / "train", "--run_dir", run, "--epochs", 1, "--ema", 0.9)
    done = typed(cache, "launch.train", *FLAGS, *flags)
    assert done.returncode == 0, done.stderr
    return run, done.stdout


def test_the_first_lines_say_what_was_chosen(first):
    run, told = first
    assert "72 training images, 72 held back; 1 epoch of 9 steps\n" in told  # val/ beside photos/train
    assert "the small recipe; --recipe published" in told
    assert "learning rate 0.0125 at its highest: 0.05 for a batch of 32, times 8/32 (linear rule" in told
    assert "classes in the order of text, '2' before '9'" not in told and "'10' before '2'" in told
    assert "1 rank on CPU" in told
    assert metrics(run)[0]["lr"] == pytest.approx(0.0125)
    assert "top-5" not in told  # of three classes
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["classes"] == ["10", "2", "9"] and config["data"]["training"]["images"] == 72
    assert config["run"]["recipe"] == "small"


def test_what_to_type_next_works_when_it_is_typed(first, cache):
    run, told = first
    evaluate, go_on = [line.strip() for line in told.split("what to type next:\n")[1].splitlines()]
    for line, expected in ((evaluate, "on 72 images of"), (f"{go_on} --dry_run", "steps: 9 an epoch")):
        environment = {**ENVIRONMENT, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            line, shell=True, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
        )
        assert done.returncode == 0 and expected in done.stdout, (line, done.stdout, done.stderr)


def test_a_refused_resume_leaves_the_run_as_it_was(first, cache):
    run, _ = first
    before = (run / "config.yaml").read_bytes()
    line = refused(typed(cache, "launch.train", "--resume", run, "--lr", 0.3))
    assert "lr = 0.3" in line and "was trained with 0.05" in line
    assert (run / "config.yaml").read_bytes() == before
    other = run.parent / "other"
    assert "goes on in its own folder" in refused(typed(cache, "launch.train", "--resume", run, "--run_dir", other))
    assert not other.exists()


def test_a_run_that_is_done_says_so(first, cache):
    done = typed(cache, "launch.train", "--resume", first[0])
    assert done.returncode == 0 and "nothing left to do after 1 epoch; --epochs for more" in done.stdout


def test_other_classes_are_refused_by_eval_and_resume(first, cache, tmp_path):
    other = photos_of(cache, tmp_path / "other", ("cat", "dog", "owl"))
    before = (first[0] / "eval.json").read_bytes()
    for module, flags in (("launch.eval", ("--ckpt", first[0])), ("launch.train", ("--resume", first[0]))):
        line = refused(typed(cache, module, *flags, "--data_path", other))
        assert "has other classes" in line and "class 0 is 'cat' and was '10'" in line
    assert (first[0] / "eval.json").read_bytes() == before


def test_other_images_of_the_same_classes_get_a_file_of_their_own_and_are_not_gone_on_with(first, cache, tmp_path):
    run, other = first[0], photos_of(cache, tmp_path / "other", ("2", "10", "9"), first=30, count=20)
    before = (run / "eval.json").read_bytes()
    done = typed(cache, "launch.eval", "--ckpt", run, "--data_path", other)
    assert "not the images that the run held back" in done.stdout
    (written,) = run.glob("eval-*.json")
    assert json.loads(written.read_text())["total"] == 60 and (run / "eval.json").read_bytes() == before
    line = refused(typed(cache, "launch.train", "--resume", run, "--data_path", other, "--epochs", 2))
    assert "holds other training images" in line and f"--pretrained {run}" in line


def test_the_training_images_are_not_evaluated_unsaid(first, cache, photos):
    done = typed(cache, "launch.eval", "--ckpt", first[0], "--val_data_path", photos / "train", "--data_path", photos)
    assert done.returncode == 0 and "(the very images that it was trained on)" in done.stdout


def test_the_average_of_the_weights_can_be_evaluated(first, cache):
    run = first[0]
    done = typed(cache, "launch.eval", "--ckpt", run, "--weights", "average")
    assert done.returncode == 0 and "(moving average)" in done.stdout
    # To the very counts of the evaluation at the end of training.
    ends = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    (averaged,) = [end for end in ends if end["weights"] == "averaged"]
    found = json.loads((run / "eval_averaged.json").read_text())
    assert found == {name: averaged[name] for name in found}


def test_weights_of_another_network_are_named_as_such(first, cache, photos):
    line = refused(typed(cache, "launch.eval", "--ckpt", first[0], "--net", "genet"))
    assert line.endswith("was trained as tinydarknet")
    flags = ("--net", "genet", "--image_size", 32, "--data_path", photos, "--pretrained", first[0])
    assert "was trained as tinydarknet, this network is genet" in refused(typed(cache, "launch.train", *flags))


def test_a_run_is_what_another_one_starts_from(first, cache, photos, tmp_path):
    flags = ("--data_path", photos, "--pretrained", first[0], "--weights", "last", "--max_steps", 1)
    done = typed(cache, "launch.train", *FLAGS, *flags, "--eval_interval", 0, "--run_dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr


def test_a_rate_that_left_the_numbers_names_its_likely_cause(cache, photos, tmp_path):
    flags = ("--data_path", photos, "--lr", 1e30, "--run_dir", tmp_path / "run", "--optimizer", "lars", "--nesterov")
    done = typed(cache, "launch.train", *FLAGS, *flags, "--accumulate", 2, "--clip_norm", 5, "--eval_interval", 0)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the likely cause is a learning rate that is too high (1e+30); try --lr" in done.stderr
    dump = re.search(r"launch\.replay (\S+)", done.stderr)[1]
    meta = json.loads((ROOT / dump / "meta.json").read_text())
    assert meta["settings"]["step"]["optimizer"] == "lars" and meta["settings"]["step"]["clip_norm"] == 5
    again = typed(cache, "launch.replay", dump)
    assert again.returncode == 0, again.stderr
    then, here = re.findall(r"first not finite (?:was|is) (.*)", again.stdout)
    assert then == here


@pytest.mark.parametrize(
    "line, message",
    [
        ("--data_path PHOTO", "neither a folder, nor a pack, nor a list file"),
        ("--resume WEIGHTS", "not a run folder, it holds no config.yaml"),
        ("--run_dir /proc/x", "--run_dir /proc/x cannot be written"),
        (
            "--data_path PHOTOS --sort_classes number --num_classes 2",
            "--num_classes 2: there are 3 in the training images",
        ),
        ("--data_path PHOTOS --batch_size 100", "do not fill one batch of --batch_size 100 on 1 rank"),
    ],
)
def test_what_cannot_work_is_one_line_and_leaves_no_folder(first, cache, photos, tmp_path, line, message):
    (weights,) = list(first[0].rglob("weights.ckpt"))[:1]
    places = {"PHOTO": next(photos.rglob("*.png")), "WEIGHTS": weights, "PHOTOS": photos}
    words = [str(places.get(word, word)) for word in line.split()]
    assert message in refused(typed(cache, "launch.train", *words, cwd=tmp_path))
    assert not list(tmp_path.iterdir())


def test_vgg16_looks_at_what_is_there(cache, photos):
    done = typed(cache, "launch.train", "--net", "vgg16", "--image_size", 32, "--data_path", photos, "--dry_run")
    assert done.returncode == 0 and "72 training images in 3 classes, 72 held back" in done.stdout
