"""From a run to its use: launch.predict and the files of launch.export answer as the run counted."""

import json
import logging
import zlib
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from runs import command, metrics

from cellwright.dataloader import EvalTransform
from cellwright.dataloader.apply_transform import ApplyTransform
from cellwright.dataloader.decode.picture import Pixels
from cellwright.launch.predict import main, map_places
from cellwright.launch.serving import onnx_int8
from cellwright.launch.settings.embedded_images import embedded_dataset


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few steps, evaluated: its classes differ from picture to picture."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    command("launch.train", "--net", "tinydarknet", "--max_steps", 60, "--run_dir", folder)
    return folder


@pytest.fixture(scope="module")
def held_back():
    """(folder of the held-back images, their files in the order of their names, their labels)."""
    folder = embedded_dataset() / "val"
    files = sorted(folder.rglob("*.png"), key=str)
    return folder, files, [int(file.parent.name[0]) for file in files]


@pytest.fixture(scope="module")
def predicted(run, held_back):
    """The labels of launch.predict for all held-back images."""
    done = command("launch.predict", held_back[0], "--ckpt", run, "--json", "--top", 1)
    found = json.loads(done.stdout)
    assert [one["file"] for one in found] == [str(file) for file in held_back[1]]
    return np.array([one["classes"][0]["label"] for one in found])


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The ONNX files in float32 and int8."""
    folder = tmp_path_factory.mktemp("onnx")
    for name, *flags in (("float32",), ("int8", "--int8", "--calibration_images", 256)):
        line = ("--ckpt", run, "--file_format", "onnx", "--file_name", folder / name, *flags)
        command("launch.export", *line)
    return folder


def labels_of(file, pictures):
    session = onnxruntime.InferenceSession(str(file))
    return session.run(["logits"], {"images": pictures})[0].argmax(axis=1)


def test_the_loss_of_the_run_fell(run):
    losses = [record["loss"] for record in metrics(run)]
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:4])


def test_predict_counts_what_the_run_counted(run, predicted, held_back):
    counted = json.loads((run / "eval.json").read_text())
    assert len(set(predicted.tolist())) > 3
    assert int((predicted == held_back[2]).sum()) == counted["top1_correct"]


def test_the_onnx_file_gives_every_picture_the_same_class(exported, predicted, held_back):
    pictures = np.stack([cv2.imread(str(file))[..., ::-1] for file in held_back[1]])
    np.testing.assert_array_equal(labels_of(exported / "float32.onnx", pictures), predicted)
    agree = labels_of(exported / "int8.onnx", pictures) == predicted
    assert agree.mean() > 0.97
    assert (exported / "int8.onnx").stat().st_size < 0.4 * (exported / "float32.onnx").stat().st_size


def test_the_onnx_file_knows_its_classes_and_its_recipe(exported):
    about = onnxruntime.InferenceSession(str(exported / "float32.onnx")).get_modelmeta().custom_metadata_map
    assert len(json.loads(about["classes"])) == 10 and json.loads(about["recipe"])["net"] == "tinydarknet"
    assert about["precision"] == "float32" and "weights.ckpt" in about["weights"]


@pytest.mark.parametrize("resize", ["shorter", "squash", "direct"])
def test_the_preprocessing_of_the_file_is_that_of_the_loader_to_the_bit(resize):
    import onnx
    from onnx import helper

    from cellwright.launch.serving.onnx_preprocessing import with_preprocessing

    random = np.random.default_rng(zlib.crc32(resize.encode()))
    for _ in range(12):
        side = int(random.integers(2, 80))
        transform = EvalTransform(side, resize, 0 if resize == "direct" else side + int(random.integers(0, 30)))
        values = [helper.make_tensor_value_info(name, 1, ["N", 3, side, side]) for name in ("tensor", "logits")]
        graph = helper.make_graph([helper.make_node("Identity", ["tensor"], ["logits"])], "g", values[:1], values[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        model = with_preprocessing(model, transform, (0, 0, 0), (1, 1, 1))
        onnx.checker.check_model(model, full_check=True)
        session, apply = onnxruntime.InferenceSession(model.SerializeToString()), ApplyTransform(transform, 0)
        for _ in range(5):
            pictures = random.integers(0, 256, (2, *random.integers(2, 250, 2), 3)).astype(np.uint8)
            wanted = np.empty((2, side, side, 3), np.uint8)
            for place in range(2):
                apply(Pixels(pictures[place]), 0, place, wanted[place])
            got = session.run(["logits"], {"images": pictures})[0].transpose(0, 2, 3, 1)
            np.testing.assert_array_equal(got, wanted, err_msg=f"{transform} {pictures.shape}")


def test_predict_from_the_onnx_file_and_as_text(run, exported, held_back, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(map(str, held_back[1][::250])))
    texts = [
        command("launch.predict", names, "--ckpt", ckpt, "--top", 2).stdout
        for ckpt in (run, exported / "float32.onnx")
    ]
    assert texts[0] == texts[1]
    names = [line.partition(" %  ")[2] for line in texts[0].splitlines() if " %  " in line]
    assert len(names) == 8 and set(names) <= {folder.name for folder in held_back[0].iterdir()}


def test_a_map_is_drawn_over_the_picture(run, held_back, tmp_path):
    photo = tmp_path / "wide.png"
    cv2.imwrite(str(photo), cv2.resize(cv2.imread(str(held_back[1][7])), (90, 60)))
    done = command("launch.predict", photo, "--ckpt", run, "--cam", tmp_path / "map.png")
    assert "%" in done.stdout
    drawn, plain = cv2.imread(str(tmp_path / "map.png")), cv2.imread(str(photo))
    assert drawn.shape == (300, 450, 3)
    middle = drawn[100:200, 150:300].astype(int) - cv2.resize(plain, (450, 300))[100:200, 150:300]
    assert np.abs(middle).mean() > 5


def test_what_is_no_picture_is_named_and_the_rest_goes_on(run, held_back, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (tmp_path / "good.png").write_bytes(held_back[1][0].read_bytes())
    done = command("launch.predict", tmp_path, "--ckpt", run, check=False)
    assert done.returncode == 1 and "broken.png: " in done.stderr and "good.png" in done.stdout
    assert "Traceback" not in done.stderr
    for words, message in (
        (("nowhere.png", "--ckpt", run), "nowhere.png: no such file or folder"),
        ((tmp_path, "--ckpt", run, "--cam", "map.png"), "--cam map.png: for 2 pictures it is a folder"),
        ((tmp_path, "--ckpt", "no.onnx"), "--ckpt no.onnx: no such file"),
    ):
        done = command("launch.predict", *words, check=False)
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_each_picture_has_a_map_of_its_own(tmp_path):
    files = ["cat/1.jpg", "dog/1.jpg", "dog/1-2.jpg", "dog/2.jpg"]
    names = {file: place.name for file, place in map_places(str(tmp_path / "maps"), files).items()}
    assert names == dict(zip(files, ("1.png", "1-2.png", "1-2-2.png", "2.png")))
    assert map_places("map.png", ["cat/1.jpg"]) == {"cat/1.jpg": Path("map.png")}
    assert map_places(str(tmp_path), ["cat/1.jpg"]) == {"cat/1.jpg": tmp_path / "1.png"}  # a folder that is there
    with pytest.raises(ValueError, match="--cam map.txt: the ending must be that of a picture"):
        map_places("map.txt", ["cat/1.jpg"])


@pytest.mark.parametrize(
    "name, ckpt, message",
    [
        ("one.png", "text.onnx", "text.onnx: [ONNXRuntimeError] "),
        ("bytes.txt", "run", "bytes.txt: no text, and a .txt file must hold a name a line"),
    ],
)
def test_a_file_that_is_not_what_its_ending_says_is_one_line(tmp_path, capsys, monkeypatch, name, ckpt, message):
    monkeypatch.chdir(tmp_path)
    for file in (name, ckpt):
        Path(file).write_bytes(b"\xff\xfe\n")
    assert main([name, "--ckpt", ckpt]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"python -m launch.predict: {message}") and error.count("\n") == 1


@pytest.mark.parametrize(
    "path, level, seen", [("a/onnxruntime/q.py", 30, 0), ("a/onnxruntime/q.py", 40, 1), ("q.py", 30, 1)]
)
def test_warnings_of_onnxruntime_stay_out_of_the_console(caplog, path, level, seen):
    with onnx_int8._quiet():
        logging.getLogger().handle(logging.LogRecord("root", level, path, 1, "Axis 1 is out of range", (), None))
    assert len(caplog.records) == seen
