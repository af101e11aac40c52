"""Command-line flags made from settings dataclasses: a flag, its type and its default live in the dataclass alone."""

import argparse
import dataclasses
import difflib
import typing


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses unknown flags and names the nearest known one; errors are one line, exit code 2."""

    def __init__(self, **settings):
        super().__init__(allow_abbrev=False, **settings)

    def parse_args(self, arguments=None, namespace=None):
        parsed, unknown = self.parse_known_args(arguments, namespace)
        if unknown:
            flags = [name for action in self._actions for name in action.option_strings]
            near = difflib.get_close_matches(unknown[0].split("=")[0], flags, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; --help lists the flags"
            self.error(f"unknown flag {unknown[0]}{hint}")
        return parsed

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def boolean(text):
    """True or False for `true`, `false` and the other usual spellings, in any case."""
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is not true or false")


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


def converter(annotation):
    """The function that reads a flag's text for a field of this type; None for types that have no flag."""
    options = [option for option in typing.get_args(annotation) if option is not type(None)]
    if options and typing.get_origin(annotation) is not tuple:
        annotation = options[0]
    if typing.get_origin(annotation) is tuple:
        annotation = tuple
    return {int: int, float: float, str: str, bool: boolean, tuple: numbers}.get(annotation)


def add_flags(parser, settings, group, helps=None, skip=()):
    """Adds a flag --NAME for every field of the dataclass `settings` that can be written as one.

    Flags that are not given are absent from the parsed namespace, so that a file or a recipe can speak first.
    """
    section = parser.add_argument_group(group)
    types = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        read = converter(types[field.name])
        if read is None or field.name in skip:
            continue
        alone = {"nargs": "?", "const": True} if read is boolean else {}  # --dry_run is --dry_run True
        section.add_argument(
            f"--{field.name}",
            type=read,
            **alone,
            default=argparse.SUPPRESS,
            choices=field.metadata.get("choices"),
            metavar=None
            if field.metadata.get("choices")
            else types[field.name].__name__.upper()
            if isinstance(types[field.name], type)
            else "VALUE",
            help=field.metadata.get("help") or (helps or {}).get(field.name),
        )
    return section
