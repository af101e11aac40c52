import dataclasses
import typing

import pytest
import yaml

from cellwright.launch.settings.flag_parser import Parser, add_flags, value_of_file
from cellwright.launch.settings.resolve import read_settings


@dataclasses.dataclass(frozen=True)
class Settings:
    lr: float = 0.1
    epochs: int = 3
    nesterov: bool = False
    crop_scale: tuple[float, float] = (0.08, 1.0)
    seed: int | None = None
    kind: str = dataclasses.field(default="a", metadata={"choices": ("a", "b"), "help": "the kind"})
    table: dict = dataclasses.field(default_factory=dict)


@pytest.fixture
def parser():
    parser = Parser(prog="program")
    add_flags(parser, Settings, "settings")
    return parser


def test_flags_take_the_type_of_their_field(parser):
    given = parser.parse_args("--lr 1e-2 --epochs 5 --nesterov True --crop_scale 0.5,1 --seed 7 --kind b".split())
    assert vars(given) == dict(lr=0.01, epochs=5, nesterov=True, crop_scale=(0.5, 1), seed=7, kind="b")


def test_what_is_not_given_is_absent(parser):
    assert vars(parser.parse_args([])) == {}


@pytest.mark.parametrize(
    "line, message",
    [
        ("--epoch_s 5", "unknown flag --epoch_s; did you mean --epochs?"),
        ("--zzz 5", "unknown flag --zzz; --help lists the flags"),
        ("--epochs many", "argument --epochs: invalid int value: 'many'"),
        ("--nesterov maybe", "argument --nesterov: 'maybe' is not true or false"),
        ("--crop_scale a,b", "argument --crop_scale: 'a,b' is not a list of numbers such as 0.08,1.0"),
        ("--table x", "unknown flag --table"),
    ],
)
def test_a_wrong_flag_is_one_clear_line(parser, capsys, line, message):
    with pytest.raises(SystemExit) as exit_:
        parser.parse_args(line.split())
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("program: ") and error.count("\n") == 1
    assert message in error


def test_no_prefix_of_a_flag_passes_for_it(parser):
    with pytest.raises(SystemExit):
        parser.parse_args(["--epoch", "5"])


@pytest.mark.parametrize(
    "written, value",
    [
        ("lr: 1e-3", 1e-3),  # text to YAML, for want of a point
        ("lr: 1", 1),
        ("epochs: '5'", 5),
        ("nesterov: 'false'", False),
        ("nesterov: off", False),
        ("crop_scale: [1e-1, 1]", (0.1, 1)),
        ("crop_scale: 0.5,1", (0.5, 1)),
        ("seed: null", None),
        ("seed: 7", 7),
        ("kind: 5", "5"),
        ("table: {a: 1}", {"a": 1}),
    ],
)
def test_a_value_of_a_file_is_what_the_flag_makes_of_it(written, value):
    ((name, found),) = yaml.safe_load(written).items()
    found = value_of_file(typing.get_type_hints(Settings)[name], found)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("recipe: {epochs: three}", "FILE: epochs: 'three' is not a whole number"),
        ("recipe: {epochs: 2.5}", "FILE: epochs: 2.5 is not a whole number"),
        ("recipe: {epochs: yes}", "FILE: epochs: True is not a whole number"),
        ("recipe: {lr: }", "FILE: lr: None is not a number"),
        ("recipe: {lr: [0.1, 0.2]}", r"FILE: lr: \[0.1, 0.2\] is not a number"),
        ("recipe: {network_settings: 3}", "FILE: network_settings: 3 is not a mapping"),
        ("run: {mlp: maybe}", "FILE: mlp: 'maybe' is not true or false"),
        ("run: {net: 5}", "--net '5': allowed are"),
        ("step: hello", "FILE: section 'step' is 'hello', and must hold settings"),
        ("- lr", "FILE holds no settings"),
        (b"\xff\xfe", "FILE is not a text file"),
    ],
)
def test_a_file_of_settings_that_cannot_be_is_one_clear_line(tmp_path, text, message):
    file = tmp_path / "config.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message.replace("FILE", str(file))) as error:
        read_settings(["--config", str(file)], "program")
    assert "\n" not in str(error.value) and type(error.value) is ValueError
