"""Command-line flags made from settings dataclasses: a flag, its type and its default live in the dataclass alone."""

import argparse
import dataclasses
import difflib
import sys
import typing
from functools import partial


def setting(default, help, choices=None, value=None):
    """Returns a dataclass field with a flag's help text, allowed values, and the format of its value, such as DIR."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "value": value})


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and exit code 2; `--help SECTION` prints one section of the flags.

    elsewhere: names of flags that other commands act on and this one does not; they are refused as such, and an
    unknown flag with the nearest known one.
    """

    def __init__(self, elsewhere=(), **settings):
        super().__init__(allow_abbrev=False, **settings)
        self.elsewhere, self.sections = frozenset(elsewhere), {}

    def section(self, name, description=None):
        """Returns the group of flags of this name, which `--help NAME` prints; a new one at the first call."""
        if name not in self.sections:
            self.sections[name] = self.add_argument_group(name, description)
        return self.sections[name]

    def parse_args(self, arguments=None, namespace=None):
        arguments = sys.argv[1:] if arguments is None else list(arguments)
        self._help_of_a_section(arguments)
        parsed, unknown = self.parse_known_args(arguments, namespace)
        if unknown:
            self._refuse(unknown[0])
        return parsed

    def _help_of_a_section(self, arguments):
        for word, wanted in zip(arguments, arguments[1:]):
            if word in ("--help", "-h") and not wanted.startswith("-"):
                if wanted not in self.sections:
                    self.error(f"--help {wanted}: sections are {', '.join(self.sections) or 'none'}")
                formatter = self._get_formatter()
                formatter.start_section(wanted)
                formatter.add_arguments(self.sections[wanted]._group_actions)
                formatter.end_section()
                sys.stdout.write(formatter.format_help())
                self.exit(0)

    def _refuse(self, word):
        flag = word.split("=")[0]
        if flag.removeprefix("--") in self.elsewhere:
            self.error(f"{flag} does nothing in {self.prog}; --help lists its flags")
        flags = [name for action in self._actions for name in action.option_strings]
        near = difflib.get_close_matches(flag, flags, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; --help lists the flags"
        kind = "flag" if word.startswith("-") else "word"
        self.error(f"unknown {kind} {word}{hint}")

    def format_help(self):
        names = ", ".join(self.sections)
        return super().format_help() + (f"\n--help SECTION prints one section: {names}\n" if names else "")

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def boolean(text):
    """True or False for `true`, `false` and the other usual spellings, in any case."""
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is not true or false")


def boolean_or(allowed, text):
    """ "True" or "False" for any spelling of them, and any other text as it is; allowed: what the error names."""
    try:
        return text if text in allowed else str(boolean(text))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(allowed)}") from None


def numbers(text):
    """The comma-separated numbers in `text` as a tuple: ints where they are written as ints, else floats."""
    try:
        return tuple(_number(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0.08,1.0") from None


def _number(text):
    try:
        return int(text)
    except ValueError:
        return float(text)


def _bare(annotation):
    """The type of a field's value, without None."""
    options = [option for option in typing.get_args(annotation) if option is not type(None)]
    return options[0] if options and typing.get_origin(annotation) is not tuple else annotation


def converter(annotation):
    """The function that reads a flag's text for a field of this type; None for types that have no flag."""
    annotation = _bare(annotation)
    if typing.get_origin(annotation) is tuple:
        annotation = tuple
    return {int: int, float: float, str: str, bool: boolean, tuple: numbers}.get(annotation)


def value_of_file(annotation, value):
    """Returns a value of a YAML file as a field of this type holds it; ValueError, in words, for what it cannot hold.

    What YAML does not take for a value of the type is read as the flag's text is: `1e-3` without a point is text to it.
    """
    kind = _bare(annotation)
    kind, read = typing.get_origin(kind) or kind, converter(annotation)
    if kind is tuple and isinstance(value, list):
        value = ",".join(map(str, value))
    if value is None and type(None) in typing.get_args(annotation):
        return None
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    try:
        return read("" if value is None else str(value))
    except (TypeError, ValueError, argparse.ArgumentTypeError):
        words = {int: "a whole number", float: "a number", bool: "true or false", tuple: "a list of numbers"}
        raise ValueError(f"{value!r} is not {words.get(kind, 'a mapping')}") from None


def value_format(annotation):
    """How a value of this type is written, for a help text: N, X, True|False, TEXT, or X,X."""
    annotation = _bare(annotation)
    if typing.get_origin(annotation) is tuple:
        parts = typing.get_args(annotation)
        one = "N" if parts[0] is int else "X"
        return f"{one},{one},..." if Ellipsis in parts else ",".join([one] * len(parts))
    return {int: "N", float: "X", bool: "True|False"}.get(annotation, "TEXT")


def shown(value):
    """A value as it is typed on a command line; `none` for none."""
    if value is None:
        return "none"
    return ",".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)


def add_flags(parser, settings, group, only=None, defaults=None, choices=None):
    """Adds a flag --NAME for every field of the dataclass `settings` that can be written as one, to a section.

    Flags that are not given are absent from the parsed namespace, so that a file or a recipe can speak first. only: the
    names to take; none: all. defaults: texts that stand for the default in the help, where it is not the field's own.
    choices: allowed values, where the field does not say.
    """
    section = parser.section(group) if isinstance(parser, Parser) else parser.add_argument_group(group)
    types = typing.get_type_hints(settings)
    fields = {field.name: field for field in dataclasses.fields(settings)}
    for name in only if only is not None else fields:
        field, read = fields[name], converter(types[name])
        if read is None:
            continue
        allowed = choices or field.metadata.get("choices")
        alone = {"nargs": "?", "const": True} if read is boolean else {}  # --dry_run is --dry_run True
        if allowed and "True" in allowed:
            read, alone = partial(boolean_or, allowed), {"nargs": "?", "const": "True"}
        default = (defaults or {}).get(name) or shown(field.default)
        text = f"{field.metadata.get('help') or ''} (default: {default})".strip()
        section.add_argument(
            f"--{name}",
            type=read,
            **alone,
            default=argparse.SUPPRESS,
            choices=allowed,
            metavar="|".join(allowed) if allowed else field.metadata.get("value") or value_format(types[name]),
            help=text.replace("%", "%%"),
        )
    return section
