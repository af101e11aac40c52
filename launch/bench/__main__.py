"""The family of speed measurements.

    python -m launch.bench MEMBER [--json FILE] [its own flags]

A member is a module launch/bench/MEMBER.py with a frozen dataclass `Settings` (its flags) and a function
`measure(settings)` that returns {"results": [{"name", "value", "unit"}, ...], "ratios": {name: number}}.
"""

import ast
import datetime
import importlib
import json
import pkgutil
import signal
import sys
from pathlib import Path

from cellwright.launch import bench
from cellwright.launch.host.machine import machine, versions
from cellwright.launch.settings.flag_parser import Parser, add_flags
from cellwright.launch.settings.output_file import check_output


def members():
    """Returns the sorted names of the measurements that there are."""
    names = (module.name for module in pkgutil.iter_modules(bench.__path__) if not module.ispkg)
    return sorted(name.replace("_", "-") for name in names if _has_measure(_parsed(name)))


def _parsed(member):
    """The syntax tree of a measurement's file: to import them all would take seconds."""
    file = Path(bench.__path__[0], f"{member.replace('-', '_')}.py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _has_measure(tree):
    return any(isinstance(part, ast.FunctionDef) and part.name == "measure" for part in tree.body)


def table(report):
    """Returns the report as aligned lines for the console."""
    rows = [(item["name"], f"{item['value']:,.4g}", item["unit"]) for item in report["results"]]
    rows += [(name, f"{value:,.3g}", "x") for name, value in report["ratios"].items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)] if rows else (0, 0)
    return "\n".join(f"{name:<{widths[0]}}  {value:>{widths[1]}} {unit}" for name, value, unit in rows)


def main(arguments=None):
    """Runs one member; prints its table, writes its JSON."""
    parser = Parser(prog="python -m launch.bench", description="Measures speed, as ratios within one run.")
    choices = parser.add_subparsers(dest="member", required=True, parser_class=Parser, metavar="MEMBER")
    arguments = sys.argv[1:] if arguments is None else arguments
    modules = {
        name: importlib.import_module(f"cellwright.launch.bench.{name.replace('-', '_')}")
        for name in members()
        if name in arguments[:1]
    }
    for name in members():
        if name not in modules:
            choices.add_parser(name, help=ast.get_docstring(_parsed(name)).splitlines()[0])
            continue
        member = choices.add_parser(name, help=modules[name].__doc__.splitlines()[0])
        member.add_argument("--json", metavar="FILE", help="write the report to this file")
        add_flags(member, modules[name].Settings, "settings")
    given = vars(parser.parse_args(arguments))
    name, file = given.pop("member"), given.pop("json")
    try:
        check_output("--json", file)
        settings = modules[name].Settings(**given)
    except ValueError as error:
        parser.error(f"{name}: {error}")
    report = {
        "member": name,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "settings": vars(settings),
    }
    try:
        report.update(modules[name].measure(settings))
    except PermissionError as error:
        parser.error(f"{name}: {error}")
    print(table(report))
    if file:
        Path(file).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _end(number, frame):
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)  # so that what was started for a measurement ends too
    sys.exit(main())
