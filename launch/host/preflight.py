"""Says what a fresh machine lacks before anything is installed; standard library only, runs on any Python 3.

    python3 launch/preflight.py .venv

Exit code 0: the set-up can start. 1: it cannot; each reason is one line with its remedy.
"""

import os
import platform
import shutil
import sys

NEEDED_GB = 5.0  # 3.6 GB unpacked in .venv, and pip's temporary copies of the wheels


def missing(folder, version=sys.version_info[:2], which=shutil.which, free_bytes=None):
    """Returns the list of reasons, empty if none, why the project cannot be installed into `folder`."""
    reasons = []
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        reasons.append(
            "this is %s on %s: Linux on x86_64 or aarch64 is needed" % (platform.system(), platform.machine())
        )
    if not (3, 10) <= version <= (3, 12):
        reasons.append(
            "Python is %d.%d: 3.10, 3.11 or 3.12 is needed; name one with `make PYTHON=python3.11 ...`" % version
        )
    if not any(which(name) for name in (os.environ.get("CC") or "cc", "gcc")):
        reasons.append("no C compiler: install gcc (Debian, Ubuntu: apt-get install gcc)")
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        reasons.append("no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)")
    parent = os.path.dirname(os.path.abspath(folder))
    if not os.access(parent, os.W_OK):
        reasons.append("%s cannot be written" % parent)
    free = shutil.disk_usage(parent).free if free_bytes is None else free_bytes
    if free < NEEDED_GB * 1e9 and not os.path.isdir(os.path.join(folder, "lib")):
        reasons.append("%.1f GB free in %s: %.0f GB are needed" % (free / 1e9, parent, NEEDED_GB))
    return reasons


if __name__ == "__main__":
    REASONS = missing(sys.argv[1] if len(sys.argv) > 1 else ".venv")
    for reason in REASONS:
        sys.stderr.write("cannot set up Cellwright: %s\n" % reason)
    sys.exit(1 if REASONS else 0)
