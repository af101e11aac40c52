"""Runs a command of the project: `cellwright NAME ARGUMENTS` is `python -m cellwright.launch.NAME ARGUMENTS`."""

import ast
import runpy
import sys
from pathlib import Path


def commands():
    """Returns {name: first line of its description} of all that can be run in `launch`, found by reading it."""
    from cellwright import launch

    folder, found = Path(launch.__file__).parent, {}
    for path in sorted([*folder.glob("*.py"), *folder.glob("*/__main__.py")]):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.If) and "__main__" in ast.dump(node.test) for node in tree.body):
            name = path.parent.name if path.stem == "__main__" else path.stem
            found[name] = (ast.get_docstring(tree) or "").partition("\n")[0].partition(":  ")[0].rstrip(":")
    return found


def usage(found):
    """Returns the text of `cellwright --help`."""
    width = max(map(len, found))
    lines = [f"  {name:{width}}  {line}" for name, line in found.items()]
    head = "usage: [mpirun -n N] cellwright COMMAND [ARGUMENTS]\n\ncellwright COMMAND --help lists its arguments.\n"
    return "\n".join([head, *lines])


def main(arguments=None):
    """Runs the named command in this process and returns its exit code, unless the command ends the process itself."""
    name, *rest = [*(sys.argv[1:] if arguments is None else arguments), ""]
    if name == "--version":
        from cellwright import __version__

        print(__version__)
        return 0
    found = commands()
    if name in ("", "-h", "--help", "help"):
        print(usage(found))
        return 0 if name else 2
    if name not in found:
        sys.stderr.write(f"cellwright: {name!r} is no command; there are {', '.join(found)}\n")
        return 2
    sys.argv = [name, *rest[:-1]]
    runpy.run_module(f"cellwright.launch.{name}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
