"""Draws the pictures of the docs from the reports of the bench:  python -m launch.pictures

One SVG for each report that is there, named as the member is. A group of bars (a network, a size) is to its own
scale: the figures are beside the bars, what can be compared is within a group.
"""

import html
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from cellwright.launch.settings.flag_parser import Parser, add_flags, setting

# member -> (title, the unit of what is drawn, whether more is better)
MEMBERS = {
    "loader": ("Data loader", "img/s", True),
    "step": ("Training step", "images/s", True),
    "allreduce": ("Allreduce between the ranks of one host", "ms", False),
    "hosts": ("Allreduce between two hosts of two ranks", "ms", False),
    "scaling": ("One rank on all cores, one rank on each", "images/s", True),
    "eval": ("Evaluation", "images/s", True),
    "start-up": ("From the start of the process to the end of the first step", "s", False),
    "zoo": ("MindCV's networks", "ms", False),
    "decode-stages": ("A JPEG on its way to a training picture", "us a picture", False),
}
# Who is not us. "ours stock" is our engine on MindSpore's kernels: ours, but drawn lighter.
PEERS = (
    "mindspore", "torchvision", "dali", "spdl", "ffcv", "eager", "channels_last", "compiled",
    "bare mpi", "flat mpi", "gloo", "oneccl", "mccl",
)  # fmt: skip
WIDTH, NAMES, BAR, GAP, HEAD = 760, 250, 18, 7, 66

_STYLE = (
    "text{font:12px Inter,'Segoe UI','Helvetica Neue',Roboto,'DejaVu Sans',sans-serif;fill:#1b2130}"
    ".title{font-size:16px;font-weight:650}.quiet{fill:#667085;font-size:11px}.group{font-weight:650}.figure{font-variant-numeric:tabular-nums}"
    ".ours{fill:#2f6fde}.half{fill:#9db8e8}.peer{fill:#b4bcc8}.axis{stroke:#e4e7ec}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e9ef}.quiet{fill:#93a0b5}.ours{fill:#5a96ee}.half{fill:#3f5c93}.peer{fill:#566176}"
    ".axis{stroke:#2a3140}}"
)


@dataclass(frozen=True)
class Settings:
    """The folders"""

    bench: str = setting("docs/bench", "folder with the reports, JSON files of launch.bench")
    out: str = setting("docs/pictures", "folder for the pictures")


def groups_of(report):
    """Returns {group: [(name, value), ...]} of what is drawn of a report, in its order; the group is "" where names
    have none."""
    unit = MEMBERS[report["member"]][1]
    found = {}
    for row in report["results"]:
        name, value = row["name"], row["value"]
        if row["unit"] != unit or ", of it " in name or not value > 0:
            continue
        group, colon, rest = name.partition(": ")
        found.setdefault(group if colon else "", []).append((rest if colon else name, value))
    return found


def kind_of(name):
    """Returns the class of a bar: ours, half (our engine on stock kernels) or peer."""
    if any(name.lower().startswith(peer) for peer in PEERS):
        return "peer"
    return "half" if name.startswith("ours stock") else "ours"


def draw(report):
    """Returns the SVG of a report as text; ValueError if it holds nothing to draw."""
    title, unit, more = MEMBERS[report["member"]]
    groups = groups_of(report)
    if not groups:
        raise ValueError(f"a report of {report['member']} without results in {unit}")
    parts, y = [], HEAD
    for group, rows in groups.items():
        if group:
            parts.append(f'<text class="group" x="0" y="{y + 11}">{html.escape(group)}</text>')
            y += 22
        most = max(value for _, value in rows)
        top = y
        for name, value in rows:
            wide = max(1.0, (WIDTH - NAMES - 90) * value / most)
            middle = y + BAR / 2 + 4
            parts.append(f'<text x="{NAMES - 10}" y="{middle}" text-anchor="end">{html.escape(name)}</text>')
            parts.append(
                f'<rect class="{kind_of(name)}" x="{NAMES}" y="{y}" width="{wide:.1f}" height="{BAR}" rx="3"/>'
            )
            parts.append(f'<text class="figure" x="{NAMES + wide + 7:.1f}" y="{middle}">{value:,.4g} {unit}</text>')
            y += BAR + GAP
        parts.append(f'<line class="axis" x1="{NAMES}" x2="{NAMES}" y1="{top - 3}" y2="{y - GAP + 3}"/>')
        y += 10
    lines = [_machine(report), "longer is better" if more else "shorter is better"]
    head = f'<text class="title" x="0" y="18">{html.escape(title)}</text>'
    for number, line in enumerate(lines):
        head += f'<text class="quiet" x="0" y="{36 + 15 * number}">{html.escape(line)}</text>'
    box = f'viewBox="-12 -6 {WIDTH + 24} {y + 6}" width="{WIDTH + 24}"'
    head = f"<title>{html.escape(title)}</title><style>{_STYLE}</style>{head}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img">{head}{"".join(parts)}</svg>\n'


def _machine(report):
    machine, versions = report.get("machine", {}), report.get("versions", {})
    words = [machine.get("processor"), f"{machine['cores']} cores" if "cores" in machine else None, report.get("date")]
    words += [
        f"{label} {versions[name]}"
        for name, label in (("mindspore", "MindSpore"), ("torch", "PyTorch"))
        if name in versions
    ]
    return " · ".join(word for word in words if word)


def main(arguments=None):
    parser = Parser(prog="python -m launch.pictures", description=__doc__.partition(":  ")[0])
    add_flags(parser, Settings, "settings")
    settings = Settings(**vars(parser.parse_args(arguments)))
    out, drawn = Path(settings.out), {}
    for path in sorted(Path(settings.bench).glob("*.json")):
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            report["member"] = report["member"].replace("_", "-")
            if report["member"] not in MEMBERS:
                raise ValueError(f"no picture for the member {report['member']}")
            # Several reports of one member are told apart by the names of their files.
            name = report["member"] if report["member"] not in drawn else path.stem
            picture = draw(report)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            sys.stderr.write(f"{path} was left out: {error}\n")
            continue
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{name}.svg").write_text(picture, encoding="utf-8")
        drawn[name] = path
        print(f"{out / name}.svg from {path}")
    if not drawn:
        sys.stderr.write(f"python -m launch.pictures: no report in {settings.bench}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
