"""Whether all ranks mean the same run: told at its start, where a difference would show as a hang, or not at all."""

import hashlib
import platform
import socket
from pathlib import Path

import cellwright
from cellwright.launch.host.machine import versions


def agree(world, **parts):
    """Raises ValueError on all ranks where one's part is not another's; names both, and what differs. Collective.

    parts: name -> a value, or a dict of values, of which str() is compared: settings, code, data.
    """
    own = {f"{name} {key}".strip(): str(value) for name, part in parts.items() for key, value in _fields(part)}
    digest = hashlib.blake2b(repr(sorted(own.items())).encode(), digest_size=8).hexdigest()
    digests = world.allgather_object(digest)
    if len(set(digests)) == 1:
        return
    everywhere = world.allgather_object((socket.gethostname(), own))  # only here: it may be long
    (first_host, first), other = everywhere[0], digests.index(next(d for d in digests if d != digests[0]))
    host, theirs = everywhere[other]
    differing = [name for name in {**first, **theirs} if first.get(name) != theirs.get(name)]
    name = differing[0]
    more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
    raise ValueError(
        f"the ranks do not mean the same run: {name} is {_short(first.get(name))} on rank 0 ({first_host}) and "
        f"{_short(theirs.get(name))} on rank {other} ({host}){more}"
    )


def code():
    """Returns what computes: the versions that figures depend on, and a digest of every file of this package."""
    home = Path(cellwright.__file__).parent
    if not (home / "engine").is_dir():  # a checkout
        home = home.parent
    summed = hashlib.blake2b(digest_size=8)
    for room in ("kernels", "dataloader", "nets", "engine", "launch"):
        for path in sorted((home / room).rglob("*.py")):
            summed.update(str(path.relative_to(home)).encode() + path.read_bytes())
    return {"Python": platform.python_version(), **versions(), "digest": summed.hexdigest()}


def _fields(part):
    return part.items() if isinstance(part, dict) else [("", part)]


def _short(value):
    return "absent" if value is None else value if len(value) <= 60 else value[:57] + "..."
