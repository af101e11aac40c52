"""Hosts that are network namespaces of this one, on a link of a stated speed: for tests and measurements as root."""

import contextlib
import os
import subprocess
from pathlib import Path

from cellwright.launch.host.delayed_link import delayed_link

_AGENT = """#!/bin/sh
# agent ADDRESS COMMAND...: what ssh would be
case $1 in
{cases}
esac
shift
exec ip netns exec $host unshare --uts sh -c "hostname $host; $*"
"""


class Namespaces:
    """Two hosts with names and addresses of their own, from `with namespaces(...)`.

    names: their names by address. folder: holds `hostfile` and `agent`.
    """

    def __init__(self, names, folder):
        self.names, self.folder = names, folder

    def mpirun(self, mpirun, ranks, *options):
        """Returns the words that start `ranks` processes, one host after the other, of the command behind them."""
        first = next(iter(self.names.values()))
        inside = f'hostname {first}; exec "$@"'
        line = ["ip", "netns", "exec", first, "unshare", "--uts", "sh", "-c", inside, "sh", mpirun]
        line += ["--hostfile", self.folder / "hostfile", "-n", ranks, "--bind-to", "none"]
        line += ["--prtemca", "plm_ssh_agent", self.folder / "agent", *options]
        return [str(word) for word in line]


@contextlib.contextmanager
def namespaces(folder, slots=1, gbit=None, delay_us=0):
    """Context manager: makes two hosts that see each other and yields the Namespaces; removes them in the end.

    folder: where to write for the launcher. slots: ranks of a host. gbit: Gbit/s of the link each way, None for what
    the kernel gives. delay_us: added one way, by a delayed_link. PermissionError where this process may not make
    namespaces, or such a link.
    """
    names = {f"10.77.0.{k}": f"cw{os.getpid()}{'ab'[k - 1]}" for k in (1, 2)}
    first, second = names.values()
    try:
        _run("ip", "netns", "add", first)
    except subprocess.CalledProcessError as error:
        raise PermissionError(f"no right to make network namespaces: {error.stderr.strip()}") from None
    except FileNotFoundError:
        raise PermissionError("network namespaces are made by `ip`, which is not here: install iproute2") from None
    try:
        _run("ip", "netns", "add", second)
        with _link([f"v{host}" for host in names.values()], gbit, delay_us):
            for address, host in names.items():
                _run("ip", "link", "set", f"v{host}", "netns", host)
                _run("ip", "-n", host, "addr", "add", f"{address}/24", "dev", f"v{host}")
                _run("ip", "-n", host, "link", "set", f"v{host}", "up")
                _run("ip", "-n", host, "link", "set", "lo", "up")
                if gbit and not delay_us:
                    _slow_down(host, gbit)
            yield Namespaces(names, _for_the_launcher(Path(folder), names, slots))
    finally:
        for host in names.values():
            subprocess.run(["ip", "netns", "del", host], check=False, capture_output=True)


def _run(*words):
    subprocess.run(words, check=True, capture_output=True, text=True)


@contextlib.contextmanager
def _link(devices, gbit, delay_us):
    """Context manager: makes two joined devices of these names; the kernel's own end with their namespaces."""
    if delay_us:
        with delayed_link(devices, gbit, delay_us):
            yield
    else:
        _run("ip", "link", "add", devices[0], "type", "veth", "peer", "name", devices[1])
        yield


def _slow_down(host, gbit):
    held = int(gbit * 1e9 / 8 * 2e-3)  # bytes: what the link carries in 2 ms
    limits = ["rate", f"{gbit}gbit", "burst", str(max(held, 1 << 16)), "latency", "50ms"]
    _run("tc", "-n", host, "qdisc", "add", "dev", f"v{host}", "root", "tbf", *limits)


def _for_the_launcher(folder, names, slots):
    (folder / "hostfile").write_text("".join(f"{address} slots={slots}\n" for address in names))
    agent = folder / "agent"
    agent.write_text(_AGENT.format(cases="\n".join(f"{address}) host={name};;" for address, name in names.items())))
    agent.chmod(0o755)
    return folder
