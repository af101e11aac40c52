"""Lines that people typed in their first hours, and what they get."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from photos import photos_of
from runs import ROOT, command, metrics, session

from cellwright.dataloader import PackWriter


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photos_of(tmp_path_factory.mktemp("photos"), ("2", "10", "9"))


@pytest.fixture(scope="module")
def first(photos, tmp_path_factory):
    """The run folder and the output of a first run on photos/train."""
    run = tmp_path_factory.mktemp("runs") / "a run"
    flags = ("--net", "tinydarknet", "--image_size", 32, "--run_dir", run, "--epochs", 1, "--ema", 0.9)
    return run, command("launch.train", *flags, "--data_path", photos / "train").stdout


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


def test_what_to_type_next_works_when_it_is_typed(first):
    run, told = first
    evaluate, go_on = [line.strip() for line in told.split("what to type next:\n")[1].splitlines()]
    for line, expected in ((evaluate, "on 72 images of"), (f"{go_on} --dry_run", "steps: 9 an epoch")):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(line, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and expected in done.stdout, (line, done.stdout, done.stderr)


# What is typed in one process after the first run, by name; words in capitals are places.
SESSION = {
    "kernels": "train --net tinydarknet --explain_kernels",
    "diverged": "train --net tinydarknet --image_size 32 --data_path PHOTOS --run_dir DIVERGED --lr 1e30 "
    "--optimizer lars --nesterov --accumulate 2 --clip_norm 5 --eval_interval 0",
    "cores": "train --net tinydarknet --explain_cores",
    "resumed when done": "train --resume RUN",
    "evaluated on other images": "eval --ckpt RUN --data_path MORE",
    "evaluated on training images": "eval --ckpt RUN --data_path PHOTOS --val_data_path PHOTOS/train",
    "evaluated at another size": "eval --ckpt RUN --image_size 48",
    "average": "eval --ckpt RUN --weights average",
    "pretrained": "train --net tinydarknet --image_size 32 --data_path PHOTOS --pretrained RUN --weights "
    "last --max_steps 1 --eval_interval 0 --run_dir PRETRAINED --checkpoint_prefix mine",
    "gone on with a prefix": "train --resume PRETRAINED --max_steps 2",
    "evaluated with a prefix": "eval --ckpt PRETRAINED",
    "numbers as numbers": "train --net tinydarknet --image_size 32 --data_path ODD --sort_classes number "
    "--max_steps 1 --eval_interval 0 --run_dir SORTED",
    "vgg16": "train --net vgg16 --image_size 32 --data_path PHOTOS --dry_run",
    "a run from before some flags": "train --resume OLD --epochs 2 --max_steps 10 --eval_interval 0",
}
# And what cannot work, with what it is told.
REFUSED = {
    "train --resume RUN --lr 0.3": "lr = 0.3",
    "train --resume RUN --run_dir OTHER_RUN": "goes on in its own folder",
    "train --resume RUN --data_path PETS": "has other classes than",
    "train --resume RUN --data_path MORE --epochs 2": "holds other training images",
    "eval --ckpt RUN --data_path PETS": "class 0 is 'cat' and was '10'",
    "eval --ckpt FILE --weights last --json OUT": "--weights last: ",
    "eval --ckpt RUN --net genet": "was trained as tinydarknet",
    "train --net genet --image_size 32 --data_path PHOTOS --pretrained RUN": "this network is genet",
    "train --resume PRETRAINED --max_steps 3 --checkpoint_prefix a/b": "'a/b': must be a part of a folder's name",
    "train --data_path LIST/train.txt --val_data_path LIST/val.txt": "val.txt:145: label 7: must be from 0 to 2",
    "train --data_path LIST/below.txt": "below.txt:145: label -1: must be from 0 to",
    "train --data_path PACK": "wrong.pack: label 2: must be from 0 to 1 (2 classes)",
    "train --data_path LOOP": "train/x: Too many levels of symbolic links",
    "train --data_path PHOTO": "neither a folder, nor a pack, nor a list file",
    "train --resume FILE": "not a run folder, it holds no config.yaml",
    "train --run_dir /proc/x": "--run_dir /proc/x cannot be written",
    "train --data_path PHOTOS --pretrained OUT --dry_run": "out: neither a file of weights nor a folder",
    "profile --data_path PHOTOS --net tinydarknet --image_size 32 --out PHOTO": "profile: --out /",
    "train --data_path PHOTOS --net tinydarknet --image_size 32 --ledger OUT/ledger": "out/ledger: there is no folder",
    "eval --ckpt RUN --json OUT/result.json": "out/result.json: there is no folder",
    "eval --ckpt RUN --json PHOTOS": ": this is a folder, and a file is to be written",
    "train --data_path PHOTOS --num_classes 2": "--num_classes 2: there are 3 in the training images",
    "train --data_path PHOTOS --batch_size 100": "do not fill one batch of --batch_size 100 on 1 rank",
    "train --net tinydarknet --run_dir RUN": "already holds a run",
    "train --resume OLD --max_steps 11 --mixup 0.2": "mixup = 0.2: ",
    "train --epoch 3": "unknown flag --epoch; did you mean --epochs?",
    "train --net genet --lr -1": "lr=-1.0",
    "train --data_path /nowhere": "--data_path /nowhere: no such file or folder",
    "train --val_data_path PHOTOS": "--val_data_path without --data_path",
    "train --workers 0": "--workers 0: must be at least 1",
    "train --resume /nowhere": "/nowhere",
    "train --auto_resume": "--auto_resume without --run_dir",
    "train --net tinydarknet --run_dir OTHER_RUN --overlap": "True would do nothing: all ranks are on one host",
    "train --net tinydarknet --run_dir OTHER_RUN --shard_update": "would do nothing: no host has several ranks",
    "train --net tinydarknet --run_dir OTHER_RUN --wire_dtype bfloat16": "do nothing: all ranks are on one host",
    "train --run_dir OTHER_RUN --tracker nothing": "--tracker nothing: must be MODULE:FUNCTION",
    "train --run_dir OTHER_RUN --tracker no_such_module:start": "No module named 'no_such_module'",
    "train --run_dir OTHER_RUN --tracker json:no_such": "--tracker json:no_such: json has no function no_such",
    "replay PHOTOS": " is not a crash dump: it holds no batch.npz and meta.json",
    "train --net tinydarknet --dry_run --image_size 1000000": "--image_size 1000000: ",
    "train --net tinydarknet --image_size 100000": "MiB of shared memory",
}
# The flags of augmentation that came after the first ones.
NEWER = "policy policy_operations policy_magnitude erasing mixup cutmix antialias cutout_fill".split()


def wrong_lists(photos, folder):
    """A folder with list files: train.txt of three classes, val.txt with a label 7, below.txt with a label -1."""
    folder.mkdir()
    for name, odd in (("train", 0), ("val", 7), ("below", -1)):
        labelled = [*((path, k % 3) for k, path in enumerate(sorted(photos.rglob("*.png")))), (photos / "x.png", odd)]
        lines = [f"{os.path.relpath(path, photos)} {label}\n" for path, label in labelled]
        (folder / f"{name}.txt").write_text("".join(lines))
    return folder


def run_from_before(run, folder):
    """A copy of a run as it was written when there were no NEWER flags."""
    shutil.copytree(run, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for name in NEWER:
        del config["recipe"][name]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for file in folder.glob("checkpoints/*/meta.json"):
        meta = json.loads(file.read_text())
        for name in NEWER:
            del meta["recipe"][name]
        file.write_text(json.dumps(meta))
    return folder


def wrong_pack(photos, path):
    """A pack of two classes with a label 2."""
    writer = PackWriter(path, ["a", "b"])
    for label, file in enumerate(sorted(photos.rglob("*.png"))[:3]):
        writer.add(file.name, label, file.read_bytes())
    writer.finish()
    return path


@pytest.fixture(scope="module")
def results(first, photos, tmp_path_factory):
    """of: {name: (exit code, stdout, stderr)} of all lines; places; files of the first run before them; work: where."""
    folder = tmp_path_factory.mktemp("session")
    places = {name: folder / name.lower() for name in ("OTHER_RUN", "PRETRAINED", "SORTED", "DIVERGED", "OUT")}
    places |= {"RUN": first[0], "PHOTOS": photos, "PHOTO": next(photos.rglob("*.png"))}
    places["FILE"] = next(first[0].rglob("weights.ckpt"))
    places["PETS"] = photos_of(folder / "pets", ("cat", "dog", "owl"))
    places["MORE"] = photos_of(folder / "more", ("2", "10", "9"), first=30, count=20)
    places["ODD"] = photos_of(folder / "odd", ("2", "10", "9"))
    for name in ("2/notes.txt", "10/._x.png", "9/clip.heic", ".DS_Store"):
        (places["ODD"] / "train" / name).write_bytes(b"")
    (places["ODD"] / "train" / "9" / "more").mkdir()
    places |= {"LIST": wrong_lists(photos, folder / "lists"), "PACK": wrong_pack(photos, folder / "wrong.pack")}
    places["LOOP"] = photos_of(folder / "loop", ("2", "10", "9"), splits=("train",))
    (places["LOOP"] / "train" / "x").symlink_to("x")  # nobody can read it, root neither
    places["OLD"] = run_from_before(first[0], folder / "old")
    files = {name: (first[0] / name).read_bytes() for name in ("config.yaml", "eval.json")}
    work = folder / "work"
    work.mkdir()
    of = session(SESSION | dict(zip(REFUSED, REFUSED)), places, work)
    return SimpleNamespace(of=of, places=places, files=files, work=work)


@pytest.mark.parametrize("typed", REFUSED)
def test_what_cannot_work_is_one_line(results, typed):
    code, _, errors = results.of[typed]
    assert code == 2 and "Traceback" not in errors, errors
    (line,) = [line for line in errors.splitlines() if line.startswith("python -m launch.")]
    assert REFUSED[typed] in line


def test_what_is_refused_leaves_nothing_behind(results, first):
    assert not results.places["OTHER_RUN"].exists() and not list(results.work.iterdir())
    assert (first[0] / "eval.json").read_bytes() == results.files["eval.json"]
    before = yaml.safe_load(results.files["config.yaml"])
    now = yaml.safe_load((first[0] / "config.yaml").read_text())
    assert before["recipe"] == now["recipe"] and before["data"] == now["data"]


def test_a_run_that_is_done_says_so(results):
    code, told, _ = results.of["resumed when done"]
    assert code == 0 and "nothing left to do after 1 epoch; --epochs for more" in told


def test_other_images_of_the_same_classes_get_a_file_of_their_own(results, first):
    code, told, errors = results.of["evaluated on other images"]
    assert code == 0 and "(not the images that the run held back)" in told, errors
    totals = sorted(json.loads(written.read_text())["total"] for written in first[0].glob("eval-*.json"))
    assert totals == [60, 72]  # the other images, and those of training


def test_the_training_images_are_not_evaluated_unsaid(results):
    code, told, errors = results.of["evaluated on training images"]
    assert code == 0 and "(the very images that it was trained on)" in told, errors


def test_an_evaluation_by_other_settings_is_not_kept_as_the_runs(results):
    code, told, errors = results.of["evaluated at another size"]
    assert code == 0 and "(not as the run evaluates: --image_size)" in told and "written" not in told, errors


def test_the_average_of_the_weights_can_be_evaluated(results, first):
    code, told, errors = results.of["average"]
    assert code == 0 and "(moving average) on 72 images of" in told and re.search(r"photos\d+/val:", told), errors
    # To the very counts of the evaluation at the end of training.
    ends = [json.loads(line) for line in (first[0] / "evaluations.jsonl").read_text().splitlines()]
    (averaged,) = [end for end in ends if end["weights"] == "averaged"]
    found = json.loads((first[0] / "eval_averaged.json").read_text())
    assert found == {name: averaged[name] for name in found}


def test_a_run_is_what_another_one_starts_from(results):
    code, _, errors = results.of["pretrained"]
    assert code == 0 and metrics(results.places["PRETRAINED"]), errors


def test_the_prefix_names_the_checkpoints_and_the_run_is_found_by_it(results):
    for name in ("gone on with a prefix", "evaluated with a prefix"):
        code, told, errors = results.of[name]
        assert code == 0, errors
    names = sorted(path.name for path in (results.places["PRETRAINED"] / "checkpoints").iterdir())
    assert names == ["mine-e0000_b000001", "mine-e0000_b000002"]
    assert "going on from mine-e0000_b000001" in results.of["gone on with a prefix"][1]


def test_a_run_from_before_some_flags_goes_on(results):
    code, _, errors = results.of["a run from before some flags"]
    assert code == 0 and len(metrics(results.places["OLD"])) == 10, errors


def test_the_kernels_can_be_asked_for(results):
    code, told, errors = results.of["kernels"]
    assert code == 0 and re.search(r"\(the network\)  TinyDarkNet  (\w+ program|stock)", told), errors


def test_the_cores_can_be_asked_for(results):
    code, told, errors = results.of["cores"]
    assert code == 0 and told.startswith("cores\n  rank 0 on ") and len(told.splitlines()) == 2, errors


def test_vgg16_looks_at_what_is_there(results):
    code, told, errors = results.of["vgg16"]
    assert code == 0 and "72 training images in 3 classes, 72 held back" in told, errors


def test_classes_that_are_numbers_can_be_sorted_so(results):
    code, told, errors = results.of["numbers as numbers"]
    assert code == 0 and "in the order of text" not in told, errors
    assert "left out: 1 .heic, 1 .txt, 1 folder, 2 hidden; " in told
    config = yaml.safe_load((results.places["SORTED"] / "config.yaml").read_text())
    assert config["data"]["classes"] == ["2", "9", "10"]


def test_a_rate_that_left_the_numbers_names_its_likely_cause_and_is_replayed(results):
    code, _, errors = results.of["diverged"]
    assert code == 1 and "Traceback" not in errors
    assert "the likely cause is a learning rate that is too high (1e+30); try --lr" in errors
    dump = re.search(r"launch\.replay (\S+)", errors)[1]
    meta = json.loads(Path(dump, "meta.json").read_text())
    assert meta["recipe"]["optimizer"] == "lars" and meta["settings"]["step"]["clip_norm"] == 5
    again = command("launch.replay", dump)
    then, here = re.findall(r"first not finite (?:was|is) (.*)", again.stdout)
    assert then == here
