"""From a run to its use: launch.predict and the files of launch.export answer as the run counted."""

import json
import logging
import zlib
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from runs import command, metrics, session

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


# What is typed in one process with the run, by name; words in capitals are places.
SESSION = {
    "float32": "export --ckpt RUN --file_format onnx --file_name OUT/float32",
    "int8": "export --ckpt RUN --file_format onnx --file_name OUT/int8 --int8 --calibration_images 256",
    "by the run": "predict NAMES --ckpt RUN --top 2",
    "by the file": "predict NAMES --ckpt OUT/float32.onnx --top 2",
    "map": "predict WIDE --ckpt RUN --cam OUT/map.png",
    "one of two is broken": "predict TWO --ckpt RUN",
    "no such picture": "predict nowhere.png --ckpt RUN",
    "one map for two": "predict TWO --ckpt RUN --cam map.png",
    "no such file": "predict TWO --ckpt no.onnx",
}


@pytest.fixture(scope="module")
def places(run, held_back, tmp_path_factory):
    """Where the words in capitals are: four names of pictures, a wide picture, and a good one beside a broken one."""
    out = tmp_path_factory.mktemp("out")
    places = {"RUN": run, "OUT": out, "NAMES": out / "names.txt", "WIDE": out / "wide.png", "TWO": out / "two"}
    places["NAMES"].write_text("\n".join(map(str, held_back[1][::250])))
    cv2.imwrite(str(places["WIDE"]), cv2.resize(cv2.imread(str(held_back[1][7])), (90, 60)))
    places["TWO"].mkdir()
    (places["TWO"] / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (places["TWO"] / "good.png").write_bytes(held_back[1][0].read_bytes())
    return places


@pytest.fixture(scope="module")
def results(places):
    """{name: (exit code, stdout, stderr)} of all lines."""
    return session(SESSION, places, places["OUT"])


@pytest.fixture(scope="module")
def exported(results, places):
    """The folder of the ONNX files in float32 and int8."""
    for name in ("float32", "int8"):
        assert results[name][0] == 0, results[name]
    return places["OUT"]


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


def test_predict_from_the_onnx_file_and_as_text(results, held_back):
    (code, text, errors), from_file = results["by the run"], results["by the file"]
    assert (code, text) == from_file[:2] and code == 0, errors + from_file[2]
    names = [line.partition(" %  ")[2] for line in text.splitlines() if " %  " in line]
    assert len(names) == 8 and set(names) <= {folder.name for folder in held_back[0].iterdir()}


def test_a_map_is_drawn_over_the_picture(results, places):
    code, text, errors = results["map"]
    assert code == 0 and "%" in text, errors
    drawn, plain = cv2.imread(str(places["OUT"] / "map.png")), cv2.imread(str(places["WIDE"]))
    assert drawn.shape == (300, 450, 3)
    middle = drawn[100:200, 150:300].astype(int) - cv2.resize(plain, (450, 300))[100:200, 150:300]
    assert np.abs(middle).mean() > 5


def test_what_is_no_picture_is_named_and_the_rest_goes_on(results):
    code, text, errors = results["one of two is broken"]
    assert code == 1 and "broken.png: " in errors and "good.png" in text
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "name, message",
    [
        ("no such picture", "nowhere.png: no such file or folder"),
        ("one map for two", "--cam map.png: for 2 pictures it is a folder"),
        ("no such file", "--ckpt no.onnx: no such file"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(results, name, message):
    code, _, errors = results[name]
    assert code == 2 and message in errors and errors.count("\n") == 1


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
