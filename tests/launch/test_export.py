"""python -m launch.export: what it writes answers as the network does."""

import os

import mindspore as ms
import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file

from cellwright.launch.export import export, main
from cellwright.nets import create_network

# All kinds of layers, and one network at its full depth.
NETS = {
    "densenet121": {"blocks": (2, 1, 1, 2)},
    "densenet121 avg": {"blocks": (2, 1, 1, 2), "transition": "avg"},
    "tinydarknet": {},
    "genet theta minus": {"extra": False, "mlp": False, "stages": (2, 1, 1, 1)},
    "genet mlp alone": {"extra": False, "mlp": True, "stages": (2, 1, 1, 1)},
    "genet theta": {"extra": True, "mlp": False, "stages": (2, 1, 1, 1)},
    "genet theta plus": {"extra": True, "mlp": True},
    "genet theta plus single": {"extra": True, "mlp": True, "gather": "single", "stages": (2, 1, 1, 1)},
    "vgg16 imagenet": {"hidden": 64},
    "vgg16 cifar10": {"hidden": 64, "batch_norm": True},
}
SIZE, CLASSES = 32, 7
IMAGES = np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE)).astype(np.float32)


@pytest.fixture(autouse=True)
def graph_mode(monkeypatch):
    ms.set_context(mode=ms.GRAPH_MODE)
    # A process can set its device only before its first graph has run.
    monkeypatch.setattr("cellwright.launch.export.start_mindspore", lambda *_, **__: None)


def trained(name, settings):
    """A network with other statistics than at the start and a largest logit of 1 where a dense layer makes it.

    The small gammas keep the maps of one size through all layers: where they grow, or where a batch of a few
    images gives the statistics, the network itself makes 1e-4 of a change of 1e-6 in its images.
    """
    random = np.random.default_rng(2)
    network = create_network(name, CLASSES, SIZE, **settings)
    for p in network.get_parameters():
        if p.name.endswith(("gamma", "moving_variance")):
            middle = 0.5 if p.name.endswith("gamma") else 1.0
            p.set_data(ms.Tensor((middle * random.uniform(0.8, 1.2, p.shape)).astype(np.float32)))
        elif p.name.endswith(("moving_mean", "beta", "bias")):
            p.set_data(ms.Tensor(random.normal(0, 0.1, p.shape).astype(np.float32)))
    largest = np.abs(network.set_train(False)(ms.Tensor(IMAGES)).asnumpy()).max()
    for p in network.get_parameters():
        if p.name.startswith(network.head_prefix) and name != "tinydarknet":
            p.set_data(ms.Tensor(p.asnumpy() / largest))
    return network


@pytest.mark.parametrize("case", NETS)
def test_onnx_agrees_with_the_network(tmp_path, case):
    network = trained(case.split()[0], NETS[case])
    path = export(network, IMAGES.shape, tmp_path / "net", "ONNX")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: IMAGES})
    wanted = network(ms.Tensor(IMAGES)).asnumpy()
    assert 0.1 < np.abs(wanted).max() < 10
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-5)


def flags_of(weights, *more):
    of = {"net": "tinydarknet", "ckpt": weights, "num_classes": CLASSES, "image_size": SIZE}
    return [*(word for name, value in of.items() for word in (f"--{name}", str(value))), *more]


@pytest.fixture
def weights(tmp_path):
    network = trained("tinydarknet", {})
    ms.save_checkpoint(network, str(tmp_path / "0-1_10.ckpt"))
    return tmp_path / "0-1_10.ckpt", network


def test_the_command_writes_what_a_file_of_weights_holds(tmp_path, capsys, weights):
    file, network = weights
    images = IMAGES[:1]
    wanted = network.set_train(False)(ms.Tensor(images)).asnumpy()
    more = ["--input", "tensor", "--file_name", str(tmp_path / "tiny.onnx")]
    assert main(flags_of(file, "--file_format", "onnx", *more)) == 0  # in lower case
    assert "tiny.onnx: tinydarknet of " in capsys.readouterr().out
    session = onnxruntime.InferenceSession(str(tmp_path / "tiny.onnx"))
    assert [value.name for value in session.get_outputs()] == ["logits", "probabilities"]
    np.testing.assert_allclose(session.run(["logits"], {"tensor": images})[0], wanted, rtol=0, atol=1e-5)
    three = session.run(["logits"], {"tensor": np.repeat(images, 3, axis=0)})[0]
    np.testing.assert_allclose(three, np.repeat(wanted, 3, axis=0), rtol=0, atol=1e-5)

    assert main(flags_of(file, "--file_format=mindir", "--file_name", str(tmp_path / "tiny"))) == 0
    graph = ms.nn.GraphCell(ms.load(str(tmp_path / "tiny.mindir")))
    np.testing.assert_allclose(graph(ms.Tensor(images)).asnumpy(), wanted, rtol=0, atol=1e-5)


def test_files_have_the_rights_of_any_new_file(tmp_path, weights):
    before = os.umask(0o027)
    try:
        for format, ending in (("ONNX", "onnx"), ("MINDIR", "mindir"), ("SAFETENSORS", "safetensors")):
            assert main(flags_of(weights[0], "--file_format", format, "--file_name", str(tmp_path / "out"))) == 0
            assert (tmp_path / f"out.{ending}").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_a_safetensors_file_comes_back_as_the_same_network(tmp_path, weights):
    file, network = weights
    out = tmp_path / "a new folder" / "out"
    assert main(flags_of(file, "--file_format", "safetensors", "--file_name", str(out))) == 0
    arrays = load_file(f"{out}.safetensors")
    assert "conv1.bn.running_mean" in arrays
    for parameter in network.get_parameters():
        if parameter.name.endswith("conv.weight"):
            np.testing.assert_array_equal(arrays[parameter.name], parameter.asnumpy())


def test_a_run_folder_brings_its_settings(tmp_path, capsys):
    folder = tmp_path / "run" / "checkpoints" / "e0001_b000000"
    folder.mkdir(parents=True)
    ms.save_checkpoint(create_network("vgg16", 4, 64, batch_norm=True), str(folder / "weights.ckpt"))
    (tmp_path / "run" / "config.yaml").write_text(
        "run: {net: vgg16, dataset: cifar10}\nrecipe: {num_classes: 4, image_size: 64}\n"
    )
    flags = ["--ckpt_file", str(folder), "--file_format", "ONNX", "--file_name", str(tmp_path / "vgg")]
    assert main([*flags, "--batch_size", "3"]) == 0
    assert "uint8 (3, height, width, 3) -> logits, probabilities (3, 4)" in capsys.readouterr().out
    assert onnxruntime.InferenceSession(str(tmp_path / "vgg.onnx")).get_outputs()[0].shape == [3, 4]


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "--ckpt is missing"),
        (["--ckpt", "w.ckpt", "--device_id", "1"], "--device_id 1: the graph is built on CPU"),
        (
            ["--ckpt", "w.ckpt", "--batch_size", "2", "--file_format", "safetensors"],
            "--batch_size 2: SAFETENSORS holds weights, for any batch",
        ),
        (["--ckpt", "w.ckpt", "--int8"], "--int8 with --file_format MINDIR: 8 bits are for ONNX alone"),
        (["--ckpt", "w.ckpt", "--input", "tensor"], "--input tensor: it is for --file_format ONNX alone"),
        (
            ["--ckpt_file", "w.ckpt", "--file_format", "AIR"],
            "--file_format AIR with --device_target CPU: AIR is written on an Ascend alone",
        ),
        (
            ["--ckpt_file", "nowhere.ckpt"],
            "nowhere.ckpt: neither a file of weights nor a folder with a checkpoint",
        ),
        (["--ckpt_file", "w.ckpt", "--batch_size", "0"], "--batch_size 0: must be at least 1"),
        (["--ckpt", "w.ckpt", "--ckpt_file", "v.ckpt"], "--ckpt_file v.ckpt beside --ckpt w.ckpt: both name"),
        (["--ckpt", "w.ckpt", "--file_name", "out/"], "--file_name out/: must be the name of a file"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(capsys, flags, message):
    assert main(flags) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m launch.export: ") and message in error and error.count("\n") == 1


def test_a_head_of_other_classes_is_refused(tmp_path, capsys):
    ms.save_checkpoint(create_network("tinydarknet", 9, 32), str(tmp_path / "nine.ckpt"))
    assert main(["--net", "tinydarknet", "--ckpt_file", str(tmp_path / "nine.ckpt"), "--num_classes", "7"]) == 2
    assert "conv16.conv.weight (9, 128, 1, 1) for (7, 128, 1, 1)" in capsys.readouterr().err


def test_a_damaged_description_of_a_checkpoint_is_one_line(tmp_path, capsys):
    (tmp_path / "weights.ckpt").touch()
    (tmp_path / "meta.json").write_text('{"format": 1, "ep')
    assert main(["--ckpt", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}/meta.json is damaged" in error and error.count("\n") == 1
