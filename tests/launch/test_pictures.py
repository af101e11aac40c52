"""The pictures show what the reports say, whichever reports are there."""

import json
from xml.etree import ElementTree

import pytest

from cellwright.launch.bench.__main__ import members
from cellwright.launch.pictures import MEMBERS, draw, groups_of, kind_of, main

REPORT = {
    "member": "step",
    "date": "2026-01-01",
    "machine": {"processor": "A & B", "cores": 2},
    "versions": {"mindspore": "2.10.0"},
    "results": [
        {"name": "genet: ours", "value": 20.0, "unit": "images/s"},
        {"name": "genet: ours, peak memory", "value": 900, "unit": "MiB"},
        {"name": "genet: ours stock", "value": 8.0, "unit": "images/s"},
        {"name": "genet: mindspore", "value": 5.0, "unit": "images/s"},
        {"name": "vgg16: ours", "value": 2.0, "unit": "images/s"},
    ],
    "ratios": {},
}


def test_bars_are_as_long_as_their_figures():
    tree = ElementTree.fromstring(draw(REPORT))
    bars = [(rect.get("class"), float(rect.get("width"))) for rect in tree.iter("{http://www.w3.org/2000/svg}rect")]
    assert [kind for kind, _ in bars] == ["ours", "half", "peer", "ours"]
    lengths = [length for _, length in bars]
    assert lengths[1] / lengths[0] == pytest.approx(0.4, abs=0.01) and lengths[2] / lengths[0] == pytest.approx(
        0.25, abs=0.01
    )
    assert lengths[3] == lengths[0]  # each group to its own scale
    words = " ".join(text.text for text in tree.iter("{http://www.w3.org/2000/svg}text"))
    assert "A & B · 2 cores · 2026-01-01 · MindSpore 2.10.0" in words and "20 images/s" in words and "MiB" not in words


def test_every_member_of_the_bench_has_a_picture():
    assert set(MEMBERS) == set(members())


def test_groups_and_kinds():
    assert groups_of(REPORT)["genet"] == [("ours", 20.0), ("ours stock", 8.0), ("mindspore", 5.0)]
    kinds = {"folder": "ours", "mindspore.dataset": "peer", "bare MPI in place": "peer", "shared memory node": "ours"}
    assert {name: kind_of(name) for name in (*kinds, "eager")} == {**kinds, "eager": "peer"}


def test_what_cannot_be_drawn_is_left_out_and_named(tmp_path, capsys):
    bench, out = tmp_path / "bench", tmp_path / "pictures"
    bench.mkdir()
    assert main(["--bench", str(bench), "--out", str(out)]) == 2
    (bench / "step.json").write_text(json.dumps(REPORT))
    (bench / "broken.json").write_text("{")
    (bench / "other.json").write_text('{"member": "tea", "results": []}')
    (bench / "empty.json").write_text('{"member": "eval", "results": []}')
    (bench / "list.json").write_text("[]")
    assert main(["--bench", str(bench), "--out", str(out)]) == 0
    assert [path.name for path in out.iterdir()] == ["step.svg"]
    told = capsys.readouterr().err
    assert all(f"{name}.json was left out" in told for name in ("broken", "other", "empty", "list"))
