"""The family of speed measurements.

    python -m launch.bench MEMBER [--json FILE] [its own flags]

A member is a module launch/bench_MEMBER.py with a frozen dataclass `Settings` (its flags) and a function
`measure(settings)` that returns {"results": [{"name", "value", "unit"}, ...], "ratios": {name: number}}.
"""

import datetime
import importlib
import importlib.metadata
import json
import os
import pkgutil
import platform
import sys
from pathlib import Path

import launch
from launch.flags import Parser, add_flags

PACKAGES = ("cellwright", "mindspore", "numpy", "opencv-python-headless", "numba", "mpi4py", "torch")


def members():
    """Returns the sorted names of the measurements that there are."""
    names = (module.name for module in pkgutil.iter_modules(launch.__path__))
    return sorted(name[len("bench_") :].replace("_", "-") for name in names if name.startswith("bench_"))


def machine():
    """Returns what the figures depend on: processor, cores of this process, memory, system, Python."""
    fields = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": fields.get("model name", platform.processor()),
        "instructions": " ".join(name for name in ("avx2", "avx512f") if name in fields.get("flags", "").split()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def versions():
    """Returns the versions of the packages that are installed, of those that the figures depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


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
    modules = {name: importlib.import_module(f"launch.bench_{name.replace('-', '_')}") for name in members() if name in arguments[:1]}
    for name in members():
        if name not in modules:
            choices.add_parser(name)
            continue
        member = choices.add_parser(name, help=modules[name].__doc__.splitlines()[0])
        member.add_argument("--json", help="write the report to this file")
        add_flags(member, modules[name].Settings, "settings")
    given = vars(parser.parse_args(arguments))
    name, file = given.pop("member"), given.pop("json")
    settings = modules[name].Settings(**given)
    report = {"member": name, "date": datetime.date.today().isoformat(), "machine": machine(), "versions": versions(), "settings": vars(settings)}
    report.update(modules[name].measure(settings))
    print(table(report))
    if file:
        Path(file).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
