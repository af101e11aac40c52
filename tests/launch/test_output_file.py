"""A file that cannot be written in the end is told of before the work."""

import os

import pytest

from cellwright.launch import ranktable
from cellwright.launch.bench import step
from cellwright.launch.bench.__main__ import main as bench
from cellwright.launch.settings.output_file import check_output
from cellwright.launch.speedrun.__main__ import Settings


def test_what_can_be_written_passes_and_is_not_made(tmp_path):
    (tmp_path / "old.json").write_text("old")
    for path in (None, tmp_path / "new.json", tmp_path / "old.json", os.devnull):
        check_output("--json", path)
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "old"


def test_what_cannot_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=f"--json {tmp_path}: this is a folder"):
        check_output("--json", tmp_path)
    with pytest.raises(ValueError, match=f"there is no folder {tmp_path}/none"):
        check_output("--json", tmp_path / "none" / "new.json")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(ValueError, match="new.json: cannot be written"):
        check_output("--json", tmp_path / "new.json")


def test_nothing_is_measured_for_a_report_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(step, "measure", lambda settings: pytest.fail("it measured"))
    with pytest.raises(SystemExit) as end:
        bench(["step", "--json", str(tmp_path / "none" / "report.json")])
    assert end.value.code == 2 and "there is no folder" in capsys.readouterr().err
    with pytest.raises(ValueError, match="--json .*there is no folder"):
        Settings(json=str(tmp_path / "none" / "report.json"))


def test_a_measurement_that_this_process_may_not_make_is_one_line(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/none")  # without `ip`
    with pytest.raises(SystemExit) as end:
        bench(["hosts"])
    error = capsys.readouterr().err
    assert end.value.code == 2 and "hosts: network namespaces are made by `ip`" in error and error.count("\n") == 1


def test_a_rank_table_in_no_folder_is_one_line(tmp_path, capsys):
    conf = tmp_path / "hccn.conf"
    conf.write_text("address_0=10.0.0.1\n")
    assert ranktable.main(["--hccn_conf", str(conf), "--output", str(tmp_path / "none" / "table.json")]) == 2
    assert "--output" in capsys.readouterr().err
