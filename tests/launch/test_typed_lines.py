"""Lines that people typed in their first hours, and what they get."""

import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from runs import ENVIRONMENT, ROOT, command, metrics

from cellwright.dataloader import PackWriter
from cellwright.launch.settings.embedded_images import embedded_dataset

FLAGS = ("--net", "tinydarknet", "--image_size", 32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def typed(cache, module, *flags, **options):
    return command(module, *flags, XDG_CACHE_HOME=str(cache), check=False, **options)


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


# What is typed in one session after the first run, by name; words in capitals are places.
SESSION = {
    "kernels": "train --net tinydarknet --explain_kernels",
    "resumed with another rate": "train --resume RUN --lr 0.3",
    "resumed elsewhere": "train --resume RUN --run_dir OTHER_RUN",
    "resumed on other classes": "train --resume RUN --data_path PETS",
    "resumed on other images": "train --resume RUN --data_path MORE --epochs 2",
    "resumed when done": "train --resume RUN",
    "evaluated on other classes": "eval --ckpt RUN --data_path PETS",
    "evaluated on other images": "eval --ckpt RUN --data_path MORE",
    "evaluated on training images": "eval --ckpt RUN --data_path PHOTOS --val_data_path PHOTOS/train",
    "evaluated at another size": "eval --ckpt RUN --image_size 48",
    "average": "eval --ckpt RUN --weights average",
    "last of a file": "eval --ckpt FILE --weights last --json OUT",
    "another network": "eval --ckpt RUN --net genet",
    "pretrained by another network": "train --net genet --image_size 32 --data_path PHOTOS --pretrained RUN",
    "pretrained": "train --net tinydarknet --image_size 32 --data_path PHOTOS --pretrained RUN --weights last "
    "--max_steps 1 --eval_interval 0 --run_dir PRETRAINED --checkpoint_prefix mine",
    "gone on with a prefix": "train --resume PRETRAINED --max_steps 2",
    "evaluated with a prefix": "eval --ckpt PRETRAINED",
    "another prefix": "train --resume PRETRAINED --max_steps 3 --checkpoint_prefix a/b",
    "a label of no class": "train --data_path LIST/train.txt --val_data_path LIST/val.txt",
    "a label below 0": "train --data_path LIST/below.txt",
    "a label of no class in a pack": "train --data_path PACK",
    "a class folder that cannot be read": "train --data_path LOOP",
    "a picture": "train --data_path PHOTO",
    "a file of weights to resume": "train --resume FILE",
    "a folder that cannot be": "train --run_dir /proc/x",
    "a plan with weights that are not there": "train --data_path PHOTOS --pretrained OUT --dry_run",
    "a profile in a file": "profile --data_path PHOTOS --net tinydarknet --image_size 32 --out PHOTO",
    "a ledger in no folder": "train --data_path PHOTOS --net tinydarknet --image_size 32 --ledger OUT/ledger",
    "a result in no folder": "eval --ckpt RUN --json OUT/result.json",
    "a result in place of a folder": "eval --ckpt RUN --json PHOTOS",
    "too few classes": "train --data_path PHOTOS --num_classes 2",
    "too large a batch": "train --data_path PHOTOS --batch_size 100",
    "numbers as numbers": "train --net tinydarknet --image_size 32 --data_path ODD --sort_classes number "
    "--max_steps 1 --eval_interval 0 --run_dir SORTED",
}


def wrong_lists(photos, folder):
    """A folder with list files: train.txt of three classes, val.txt with a label 7, below.txt with a label -1."""
    folder.mkdir()
    for name, odd in (("train", 0), ("val", 7), ("below", -1)):
        labelled = [*((path, k % 3) for k, path in enumerate(sorted(photos.rglob("*.png")))), (photos / "x.png", odd)]
        lines = [f"{os.path.relpath(path, photos)} {label}\n" for path, label in labelled]
        (folder / f"{name}.txt").write_text("".join(lines))
    return folder


def wrong_pack(photos, path):
    """A pack of two classes with a label 2."""
    writer = PackWriter(path, ["a", "b"])
    for label, file in enumerate(sorted(photos.rglob("*.png"))[:3]):
        writer.add(file.name, label, file.read_bytes())
    writer.finish()
    return path


@pytest.fixture(scope="module")
def session(first, photos, cache, tmp_path_factory):
    """name -> (exit code, stdout, stderr) of every line of SESSION, and the places of the words in capitals."""
    folder = tmp_path_factory.mktemp("session")
    places = {name: folder / name.lower() for name in ("OTHER_RUN", "PRETRAINED", "SORTED", "OUT")}
    places |= {"RUN": first[0], "PHOTOS": photos, "PHOTO": next(photos.rglob("*.png"))}
    places["FILE"] = next(first[0].rglob("weights.ckpt"))
    places["PETS"] = photos_of(cache, folder / "pets", ("cat", "dog", "owl"))
    places["MORE"] = photos_of(cache, folder / "more", ("2", "10", "9"), first=30, count=20)
    places["ODD"] = photos_of(cache, folder / "odd", ("2", "10", "9"))
    for name in ("2/notes.txt", "10/._x.png", "9/clip.heic", ".DS_Store"):
        (places["ODD"] / "train" / name).write_bytes(b"")
    (places["ODD"] / "train" / "9" / "more").mkdir()
    places |= {"LIST": wrong_lists(photos, folder / "lists"), "PACK": wrong_pack(photos, folder / "wrong.pack")}
    places["LOOP"] = photos_of(cache, folder / "loop", ("2", "10", "9"), splits=("train",))
    (places["LOOP"] / "train" / "x").symlink_to("x")  # nobody can read it, root neither
    files = {name: (first[0] / name).read_bytes() for name in ("config.yaml", "eval.json")}
    lines = []
    for line in SESSION.values():
        command_word, *words = line.split()
        words = [re.sub("^[A-Z_]+", lambda found: str(places.get(found[0], found[0])), word) for word in words]
        lines.append([f"launch.{command_word}", *words])
    environment = {**os.environ, **ENVIRONMENT, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    program = [sys.executable, ROOT / "tests" / "launch" / "session.py"]
    work = folder / "work"
    work.mkdir()
    done = subprocess.run(
        program, input=json.dumps(lines), capture_output=True, text=True, env=environment, cwd=work, timeout=900
    )
    assert done.returncode == 0, done.stderr
    results = dict(zip(SESSION, map(tuple, json.loads(done.stdout))))
    return SimpleNamespace(results=results, places=places, files=files, work=work)


@pytest.mark.parametrize(
    "name, message",
    [
        ("resumed with another rate", "lr = 0.3"),
        ("resumed elsewhere", "goes on in its own folder"),
        ("resumed on other classes", "has other classes than"),
        ("resumed on other images", "holds other training images"),
        ("evaluated on other classes", "class 0 is 'cat' and was '10'"),
        ("last of a file", "--weights last: "),
        ("another network", "was trained as tinydarknet"),
        ("pretrained by another network", "was trained as tinydarknet, this network is genet"),
        ("a picture", "neither a folder, nor a pack, nor a list file"),
        ("a file of weights to resume", "not a run folder, it holds no config.yaml"),
        ("a folder that cannot be", "--run_dir /proc/x cannot be written"),
        ("a plan with weights that are not there", "out: neither a file of weights nor a folder with a checkpoint"),
        ("a profile in a file", "profile: --out /"),
        ("a ledger in no folder", "out/ledger: there is no folder"),
        ("a result in no folder", "out/result.json: there is no folder"),
        ("a result in place of a folder", ": this is a folder, and a file is to be written"),
        ("another prefix", "--checkpoint_prefix 'a/b': must be a part of a folder's name"),
        ("a label of no class", "val.txt:145: label 7: must be from 0 to 2"),
        ("a label below 0", "below.txt:145: label -1: must be from 0 to"),
        ("a label of no class in a pack", "wrong.pack: label 2: must be from 0 to 1 (2 classes)"),
        ("a class folder that cannot be read", "train/x: Too many levels of symbolic links"),
        ("too few classes", "--num_classes 2: there are 3 in the training images"),
        ("too large a batch", "do not fill one batch of --batch_size 100 on 1 rank"),
    ],
)
def test_what_cannot_work_is_one_line(session, name, message):
    code, _, errors = session.results[name]
    assert code == 2 and "Traceback" not in errors, errors
    (line,) = [line for line in errors.splitlines() if line.startswith("python -m launch.")]
    assert message in line


def test_what_is_refused_leaves_nothing_behind(session, first):
    assert not session.places["OTHER_RUN"].exists() and not list(session.work.iterdir())
    assert (first[0] / "eval.json").read_bytes() == session.files["eval.json"]
    before = yaml.safe_load(session.files["config.yaml"])
    now = yaml.safe_load((first[0] / "config.yaml").read_text())
    assert before["recipe"] == now["recipe"] and before["data"] == now["data"]


def test_a_run_that_is_done_says_so(session):
    code, told, _ = session.results["resumed when done"]
    assert code == 0 and "nothing left to do after 1 epoch; --epochs for more" in told


def test_other_images_of_the_same_classes_get_a_file_of_their_own(session, first):
    code, told, errors = session.results["evaluated on other images"]
    assert code == 0 and "(not the images that the run held back)" in told, errors
    totals = sorted(json.loads(written.read_text())["total"] for written in first[0].glob("eval-*.json"))
    assert totals == [60, 72]  # the other images, and those of training


def test_the_training_images_are_not_evaluated_unsaid(session):
    code, told, errors = session.results["evaluated on training images"]
    assert code == 0 and "(the very images that it was trained on)" in told, errors


def test_an_evaluation_by_other_settings_is_not_kept_as_the_runs(session):
    code, told, errors = session.results["evaluated at another size"]
    assert code == 0 and "(not as the run evaluates: --image_size)" in told and "written" not in told, errors


def test_the_average_of_the_weights_can_be_evaluated(session, first):
    code, told, errors = session.results["average"]
    assert code == 0 and "(moving average) on 72 images of" in told and re.search(r"photos\d+/val:", told), errors
    # To the very counts of the evaluation at the end of training.
    ends = [json.loads(line) for line in (first[0] / "evaluations.jsonl").read_text().splitlines()]
    (averaged,) = [end for end in ends if end["weights"] == "averaged"]
    found = json.loads((first[0] / "eval_averaged.json").read_text())
    assert found == {name: averaged[name] for name in found}


def test_a_run_is_what_another_one_starts_from(session):
    code, _, errors = session.results["pretrained"]
    assert code == 0 and metrics(session.places["PRETRAINED"]), errors


def test_the_prefix_names_the_checkpoints_and_the_run_is_found_by_it(session):
    for name in ("gone on with a prefix", "evaluated with a prefix"):
        code, told, errors = session.results[name]
        assert code == 0, errors
    names = sorted(path.name for path in (session.places["PRETRAINED"] / "checkpoints").iterdir())
    assert names == ["mine-e0000_b000001", "mine-e0000_b000002"]
    assert "going on from mine-e0000_b000001" in session.results["gone on with a prefix"][1]


def test_the_kernels_can_be_asked_for(session):
    code, told, errors = session.results["kernels"]
    assert code == 0 and re.search(r"\(the network\)  TinyDarkNet  (\w+ program|stock)", told), errors


def test_vgg16_looks_at_what_is_there(cache, photos):
    done = typed(cache, "launch.train", "--net", "vgg16", "--image_size", 32, "--data_path", photos, "--dry_run")
    assert "72 training images in 3 classes, 72 held back" in done.stdout, done.stderr


def test_classes_that_are_numbers_can_be_sorted_so(session):
    code, told, errors = session.results["numbers as numbers"]
    assert code == 0 and "in the order of text" not in told, errors
    assert "left out: 1 .heic, 1 .txt, 1 folder, 2 hidden; " in told
    config = yaml.safe_load((session.places["SORTED"] / "config.yaml").read_text())
    assert config["data"]["classes"] == ["2", "9", "10"]


def test_a_rate_that_left_the_numbers_names_its_likely_cause_and_is_replayed(cache, photos, tmp_path):
    flags = ("--data_path", photos, "--lr", 1e30, "--run_dir", tmp_path / "run", "--optimizer", "lars", "--nesterov")
    done = typed(cache, "launch.train", *FLAGS, *flags, "--accumulate", 2, "--clip_norm", 5, "--eval_interval", 0)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the likely cause is a learning rate that is too high (1e+30); try --lr" in done.stderr
    dump = re.search(r"launch\.replay (\S+)", done.stderr)[1]
    meta = json.loads((ROOT / dump / "meta.json").read_text())
    assert meta["recipe"]["optimizer"] == "lars" and meta["settings"]["step"]["clip_norm"] == 5
    again = typed(cache, "launch.replay", dump)
    assert again.returncode == 0, again.stderr
    then, here = re.findall(r"first not finite (?:was|is) (.*)", again.stdout)
    assert then == here
