"""python -m launch.curves and the card of a run: what they show is what the run's files hold."""

import json
import re
from xml.etree import ElementTree

import pytest
import yaml

from cellwright.launch.curves import main
from cellwright.launch.serving.curve_picture import draw, smoothed, ticks
from cellwright.launch.serving.model_card import write_model_card

SVG = "{http://www.w3.org/2000/svg}"


def write_run(folder, steps=400, lr=0.1, epochs=4):
    folder.mkdir()
    records = [
        {"step": k, "epoch": k * epochs // steps, "loss": 2.0 / (k + 1) + 0.3 * (k % 2), "lr": lr, "images_per_s": 80.0}
        for k in range(steps)
    ]
    evaluations = [
        {"epoch": k + 1, "weights": "trained", "top1_correct": 10 * k, "top5_correct": 50, "total": 50, "loss": 1.0}
        for k in range(epochs)
    ]
    for name, lines in (("metrics", records), ("evaluations", evaluations)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return records, evaluations


def test_two_runs_share_the_axes_and_nothing_lies_outside_of_the_picture(tmp_path):
    runs = {name: write_run(tmp_path / name, steps) for name, steps in (("a & b", 400), ("short", 100))}
    tree = ElementTree.fromstring(draw(runs))
    wide, high = (float(number) for number in tree.get("viewBox").split()[2:])
    lines = tree.findall(f"{SVG}polyline")
    assert [line.get("class") for line in lines[:4]] == ["raw", "smooth", "raw", "smooth"]
    assert len({line.get("stroke") for line in lines}) == 2
    for line in lines:
        places = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
        assert all(0 <= x <= wide and 0 <= y <= high for x, y in places)
    ends = [float(line.get("points").split()[-1].split(",")[0]) for line in lines[1:4:2]]
    assert ends[0] == pytest.approx(wide - 24) and ends[1] < 84 + 0.27 * (wide - 108)
    words = [text.text for text in tree.iter(f"{SVG}text")]
    assert "a & b, 400 steps" in words and {"step", "epoch", "loss (nats)", "top-1 (%)", "images/s"} <= set(words)
    for text in tree.iter(f"{SVG}text"):  # 7 pixels a letter is more than any of the fonts has
        if text.get("transform") is None:
            length = 7 * len(text.text) * {"middle": 0.5, "end": 0.0}.get(text.get("text-anchor"), 1.0)
            assert float(text.get("x")) + length <= wide + 1, text.text
            if text.get("text-anchor") == "end":
                assert float(text.get("x")) - 7 * len(text.text) >= 0, text.text


def test_a_smoothed_line_is_the_mean_of_noise_and_follows_a_level():
    values = [float(k % 2) for k in range(400)]
    assert smoothed(values, 50)[-1] == pytest.approx(0.5, abs=0.02)
    assert smoothed([3.0] * 10, 50) == pytest.approx([3.0] * 10)
    assert smoothed(values, 1e-3) == pytest.approx(values)


@pytest.mark.parametrize("low, high", [(0, 1), (0.013, 0.0171), (-3, 1e6), (1, 8), (99.9, 100.0)])
def test_ticks_are_few_round_and_inside(low, high):
    found = ticks(low, high)
    assert 2 <= len(found) <= 7
    assert all(low - 1e-9 <= tick <= high * (1 + 1e-9) for tick in found)
    step = found[1] - found[0]
    assert re.fullmatch(r"[125]\.0+e[+-]\d+", f"{step:.6e}")


def test_the_command(tmp_path, capsys):
    for name in ("one", "two"):
        write_run(tmp_path / name)
    out = tmp_path / "picture.svg"
    assert main([str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(out)]) == 0
    assert "picture.svg: one, two" in capsys.readouterr().out and "<svg" in out.read_text()
    assert main([str(tmp_path)]) == 2
    assert "no run folder" in capsys.readouterr().err


def test_the_card_holds_the_result_and_keeps_what_a_person_wrote(tmp_path):
    folder = tmp_path / "run"
    write_run(folder)
    config = {
        "run": {"net": "genet", "data_path": "/data/photos", "seed": 3},
        "recipe": {"num_classes": 2, "image_size": 64, "batch_size": 8, "lr": 0.1, "epochs": 4},
        "step": {"optimizer": "momentum"},
        "world": {"ranks": 2},
        "data": {"classes": ["cat", "dog"], "training": {"images": 90, "digest": "ab"}, "held_back": None},
        "versions": {"mindspore": "2.10.0"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "eval.json").write_text('{"top1_correct": 45, "top5_correct": 50, "total": 50, "loss": 0.25}')
    path = write_model_card(folder)
    text = path.read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.9
    assert "90.00 % (45 of 50)" in text and "(curves.svg)" in text and "0 cat, 1 dog" in text
    assert "python -m cellwright.launch.run -n 2 --config config.yaml" in text and "licence: **say it here**" in text
    path.write_text(text + "My words.\n")
    assert write_model_card(folder).read_text() == text + "My words.\n"
