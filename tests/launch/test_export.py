"""python -m launch.export: what it writes answers as the network does."""

import mindspore as ms
import numpy as np
import onnxruntime
import pytest

from cellwright.launch.export import export, main
from cellwright.nets import create_network

NETS = {
    "densenet121": {},
    "densenet121 avg": {"transition": "avg"},
    "tinydarknet": {},
    "genet theta minus": {"extra": False, "mlp": False},
    "genet mlp alone": {"extra": False, "mlp": True},
    "genet theta": {"extra": True, "mlp": False},
    "genet theta plus": {"extra": True, "mlp": True},
    "genet theta plus single": {"extra": True, "mlp": True, "gather": "single"},
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


def test_the_command_writes_what_a_file_of_weights_holds(tmp_path, capsys):
    network = trained("tinydarknet", {})
    weights = tmp_path / "0-1_10.ckpt"
    ms.save_checkpoint(network, str(weights))
    flags = [
        "--net",
        "tinydarknet",
        "--ckpt_file",
        str(weights),
        "--num_classes",
        str(CLASSES),
        "--image_size",
        str(SIZE),
    ]
    images = IMAGES[:1]
    wanted = network.set_train(False)(ms.Tensor(images)).asnumpy()

    assert main([*flags, "--file_format", "ONNX", "--file_name", str(tmp_path / "tiny.onnx")]) == 0
    assert "tiny.onnx: tinydarknet of " in capsys.readouterr().out
    session = onnxruntime.InferenceSession(str(tmp_path / "tiny.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {session.get_inputs()[0].name: images})[0], wanted, rtol=0, atol=1e-5)

    assert main([*flags, "--file_format", "MINDIR", "--file_name", str(tmp_path / "tiny")]) == 0
    graph = ms.nn.GraphCell(ms.load(str(tmp_path / "tiny.mindir")))
    np.testing.assert_allclose(graph(ms.Tensor(images)).asnumpy(), wanted, rtol=0, atol=1e-5)


def test_a_run_folder_brings_its_settings(tmp_path, capsys):
    folder = tmp_path / "run" / "checkpoints" / "e0001_b000000"
    folder.mkdir(parents=True)
    ms.save_checkpoint(create_network("vgg16", 4, 64, batch_norm=True, hidden=8), str(folder / "weights.ckpt"))
    (tmp_path / "run" / "config.yaml").write_text(
        "run: {net: vgg16, dataset: cifar10}\nrecipe: {num_classes: 4, image_size: 64, network_settings: {batch_norm: true, hidden: 8}}\n"
    )
    assert (
        main(
            [
                "--ckpt_file",
                str(folder),
                "--file_format",
                "ONNX",
                "--file_name",
                str(tmp_path / "vgg"),
                "--batch_size",
                "3",
            ]
        )
        == 0
    )
    assert "float32 (3, 3, 64, 64) -> (3, 4)" in capsys.readouterr().out
    assert onnxruntime.InferenceSession(str(tmp_path / "vgg.onnx")).get_inputs()[0].shape == [3, 3, 64, 64]


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "--ckpt_file is missing"),
        (
            ["--ckpt_file", "w.ckpt", "--file_format", "AIR"],
            "--file_format AIR with --device_target CPU: AIR is written on an Ascend alone",
        ),
        (
            ["--ckpt_file", "nowhere.ckpt"],
            "nowhere.ckpt: neither a file of weights nor a folder with a checkpoint",
        ),
        (["--ckpt_file", "w.ckpt", "--batch_size", "0"], "--batch_size 0: must be at least 1"),
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
