"""MindCV's networks from the command line: tuned, resumed, evaluated, written out; and what is refused, in one line."""

import json
import shutil

import mindspore as ms
import numpy as np
import onnxruntime
import pytest
from mindcv_place import FOLDERS, python_path
from photos import photos_of
from runs import ROOT, metrics, session

from cellwright.launch.build import fine_tuning
from cellwright.launch.settings.embedded_images import embedded_dataset
from cellwright.launch.settings.step_settings import StepSettings
from cellwright.nets import create_network, stages

NET = "mindcv:mobilenet_v2_100"  # with dropout, and names that look like PyTorch's
TUNE = f"train --net {NET} --image_size 32 --batch_size 24 --lr 0.02 --data_path PHOTOS --pretrained FILE --seed 3 "
TUNE += "--freeze_batch_norm --lr_depth_factor 0.5 --eval_interval 1 --epochs 2 "
SESSION = {
    "tuned": TUNE + "--run_dir TUNED --checkpoint_steps 4",
    "evaluated": "eval --ckpt TUNED",
    "file of MindCV": f"eval --net {NET} --image_size 32 --ckpt FILE --data_path TEN",
    "onnx": "export --ckpt TUNED --file_format onnx --input tensor --file_name OUT",
    "for torch": "export --ckpt TUNED --file_format safetensors",
    "from that": TUNE.replace("FILE", "mindcv-mobilenet_v2_100.safetensors") + "--run_dir AGAIN --max_steps 1",
    "predicted": "predict PICTURE --ckpt TUNED --json",
    "dry": f"train --net {NET} --image_size 32 --data_path PHOTOS --dry_run",
    "embedded": "train --net mindcv:resnet18 --explain_kernels",
    "profiled": f"profile --net {NET} --image_size 32 --data_path PHOTOS --profile_steps 2 --warm_up 1 --out PROFILE",
    "map": "predict PICTURE --ckpt TUNED --cam MAP.png",
    "no such network": "train --net mindcv:mobilenet_v2_101",
    "no network": "train --net mobilenet_v2_100",
    "norms of all ranks": f"train --net {NET} --sync_batch_norm",
    "genet's": f"train --net {NET} --extra True",
    "no norms": "train --net mindcv:vgg11 --image_size 224 --data_path PHOTOS --pretrained VGG --freeze_batch_norm",
    "another's weights": "train --net mindcv:resnet18 --data_path PHOTOS --image_size 32 --pretrained FILE",
    "a run of another": "eval --ckpt TUNED --net mindcv:resnet18",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mindcv")
    names = ("TUNED", "STOPPED", "AGAIN", "OUT", "PROFILE", "PHOTOS", "FILE", "VGG", "PICTURE", "MAP")
    places = {name: folder / name.lower() for name in names} | {"TEN": embedded_dataset()}
    photos_of(places["PHOTOS"])
    places["PICTURE"] = next((places["PHOTOS"] / "val").rglob("*.png"))
    with pytest.MonkeyPatch.context() as patch:
        for path in FOLDERS:
            patch.syspath_prepend(path)
        ms.set_seed(1)
        ms.save_checkpoint(create_network(NET, 10), str(places["FILE"]))
        ms.save_checkpoint(create_network("mindcv:vgg11", 3), str(places["VGG"]))
    places["FILE"], places["VGG"] = (places[name].with_suffix(".ckpt") for name in ("FILE", "VGG"))
    return places


def run(places, lines):
    """Returns {name: (exit code, stdout, stderr)} of every line, typed in one process."""
    return session(lines, places, places["TUNED"].parent, python_path(ROOT))


@pytest.fixture(scope="module")
def results(places):
    return run(places, SESSION)


def weights_of(place):
    file = max((place / "checkpoints").glob("*/weights.ckpt")) if place.is_dir() else place
    return {name: value.asnumpy() for name, value in ms.load_checkpoint(str(file)).items()}


def told(results, *names):
    for name in names:
        code, out, errors = results[name]
        assert code == 0, (name, out, errors)
    return out


def test_a_file_is_tuned_with_frozen_norms_rates_by_depth_and_a_new_head(results, places):
    told(results, "tuned")
    assert "head of 10 classes left out, this network has 3: classifier.1.weight" in results["tuned"][2]
    before, after = weights_of(places["FILE"]), weights_of(places["TUNED"])
    assert before.keys() == after.keys() and after["classifier.1.weight"].shape[0] == 3
    for name, value in before.items():
        if not name.startswith("classifier."):
            frozen = name.endswith((".gamma", ".beta", ".moving_mean", ".moving_variance"))
            assert np.array_equal(after[name], value) == frozen, name
    assert metrics(places["TUNED"])[-1]["step"] == 5


def test_rates_fall_from_the_head_to_the_images(places, monkeypatch):
    for path in FOLDERS:
        monkeypatch.syspath_prepend(path)
    for name in (NET, "mindcv:resnet18"):
        network = create_network(name, 3)
        groups = fine_tuning(network, StepSettings(lr_depth_factor=0.5))
        trained = [parameter.name for parameter in network.trainable_params()]
        factors = [next(group.lr_factor for group in groups if group.holds(name)) for name in trained]
        assert factors == sorted(factors) and factors[-1] == 1 and factors[0] == 0.5 ** (len(stages(network)) - 1)


def test_a_run_goes_on_to_the_bit(results, places):
    """Its dropout is a subclass of the framework's, as MindCV has it."""
    told(results, "tuned")
    shutil.copytree(places["TUNED"], places["STOPPED"])
    shutil.rmtree(max((places["STOPPED"] / "checkpoints").iterdir()))
    ((code, out, errors),) = run(places, {"resumed": "train --resume STOPPED"}).values()
    assert code == 0 and "e0001_b000001" in out, errors
    straight, resumed = weights_of(places["TUNED"]), weights_of(places["STOPPED"])
    assert straight.keys() == resumed.keys()
    for name, value in straight.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


def test_runs_and_files_are_evaluated_written_out_and_used(results, places):
    assert "on 72 images of" in told(results, "evaluated")
    assert "on 1000 images of" in told(results, "file of MindCV")
    assert "tensors, names of this project" in told(results, "for torch")
    (found,) = json.loads(told(results, "predicted"))
    assert len(found["classes"]) == 3
    network = onnxruntime.InferenceSession(f"{places['OUT']}.onnx")
    tensor = np.zeros((2, 3, 32, 32), np.float32)
    assert told(results, "onnx") and network.run(["logits"], {"tensor": tensor})[0].shape == (2, 3)


def test_what_was_written_for_torch_is_read_again(results, places):
    told(results, "from that")
    assert "left out" not in results["from that"][2]


def test_it_is_planned_explained_and_profiled(results):
    assert "72 training images in 3 classes" in told(results, "dry")
    assert "program" in told(results, "embedded")
    told(results, "profiled")


@pytest.mark.parametrize(
    "name, message",
    [
        ("map", "map.png: where the last maps of mindcv:mobilenet_v2_100 are is not known"),
        ("no such network", "MindCV has no network of this name; did you mean mindcv:mobilenet_v2_100?"),
        ("no network", "--net 'mobilenet_v2_100': allowed are densenet121, tinydarknet, genet, vgg16, mindcv:NAME"),
        ("norms of all ranks", f"--sync_batch_norm: {NET} may normalise on parallel branches"),
        ("genet's", f"it is a setting of genet, and --net is {NET}"),
        ("no norms", "--freeze_batch_norm: this mindcv:vgg11 has no BatchNorm"),
        ("another's weights", "file.ckpt: not the weights of this mindcv:resnet18: missing: conv1.weight"),
        ("a run of another", "was trained as mindcv:mobilenet_v2_100"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(results, name, message):
    code, _, errors = results[name]
    assert code == 2 and message in errors and errors.count("\n") == 1, errors
