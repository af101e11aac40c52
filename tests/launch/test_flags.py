import dataclasses

import pytest

from cellwright.launch.settings.flag_parser import Parser, add_flags


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
