"""--help: every flag with its default and the format of its value, whole or by section."""

import re

import pytest

from cellwright.launch.bench import __main__ as bench
from cellwright.launch.settings.resolve import read_eval_settings, read_settings
from cellwright.launch.settings.sections import EVAL, SECTIONS, TRAIN


def text_of(read, arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        read(arguments, "program")
    assert ended.value.code == 0
    return capsys.readouterr().out


def flags_in(text):
    return re.findall(r"^  --(\w+) (\S+)", text, re.M)


def test_the_whole_help_has_every_flag_with_format_and_default(capsys):
    text = text_of(read_settings, ["--help"], capsys)
    flags = dict(flags_in(text))
    assert set(flags) == TRAIN | {"config"}
    assert len(re.findall(r"\(default:\s", text)) == len(TRAIN)
    assert (flags["crop_scale"], flags["lr"], flags["workers"], flags["data_path"]) == ("X,X", "X", "N", "DIR|FILE")
    assert "genet 0.8" in text and "--help SECTION" in text


@pytest.mark.parametrize("section", ["recipe", "machine"])
def test_a_section_can_be_asked_for(section, capsys):
    assert {name for name, _ in flags_in(text_of(read_settings, ["--help", section], capsys))} == set(SECTIONS[section])


def test_a_section_that_there_is_not_is_named(capsys):
    with pytest.raises(SystemExit):
        read_settings(["--help", "recipes"], "program")
    assert "--help recipes: sections are network, data, run, recipe" in capsys.readouterr().err


def test_evaluation_has_its_own_flags_only(capsys):
    assert {name for name, _ in flags_in(text_of(read_eval_settings, ["--help"], capsys))} == EVAL | {"ckpt", "json"}


def test_the_bench_lists_its_members_with_what_each_measures(capsys):
    with pytest.raises(SystemExit) as ended:
        bench.main(["--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    for member in bench.members():
        assert re.search(rf"^    {member}\s+[A-Z]", text, re.M), member


@pytest.mark.parametrize("member", bench.members())
def test_every_flag_of_the_bench_says_what_it_is(member, capsys):
    with pytest.raises(SystemExit):
        bench.main([member, "--help"])
    told = re.findall(
        r"^  --(\w+)[^\n]*?(?:\s{2,}|\n\s+)(\S+)", capsys.readouterr().out.partition("settings:")[2], re.M
    )
    assert told and not [name for name, word in told if word.startswith("(default")]
