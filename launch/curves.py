"""Draws the curves of runs into one picture:  python -m launch.curves RUN... [--out curves.svg]"""

import sys
from pathlib import Path

from cellwright.launch.serving.curve_picture import draw, read_run
from cellwright.launch.settings.flag_parser import Parser

PROGRAM = "python -m launch.curves"


def main(arguments=None):
    """Runs the command and returns its exit code: 2, and one line, where a folder holds no run."""
    parser = Parser(prog=PROGRAM, description=__doc__.partition(":  ")[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--out", default="curves.svg", help="file for the picture (default: curves.svg)")
    parser.add_argument("--window", type=float, help="steps over which lines are smoothed (default: 1/50 of them)")
    given = parser.parse_args(arguments)
    try:
        if given.window is not None and not given.window > 0:
            raise ValueError(f"--window {given.window:g}: must be more than 0 steps")
        runs = {}
        for folder in given.runs:
            name = Path(folder).absolute().name
            runs[name if name not in runs else folder] = read_run(folder)
        out = Path(given.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(draw(runs, given.window), encoding="utf-8")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 2
    print(f"{out}: {', '.join(runs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
