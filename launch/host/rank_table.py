"""The rank table that HCCL wants on Ascend, from the MPI world. Not run on hardware: tried with simulated hosts."""

import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cellwright.launch.host.devices import visible_devices
from cellwright.launch.host.mpi_world import host_address

HCCN_CONF = "/etc/hccn.conf"
_ADDRESS = re.compile(r"address_(\d+)\s*=\s*(\S+)$")


@dataclass(frozen=True)
class Member:
    """One rank's place: the address of its server, its device there and that device's address."""

    server: str
    device: int
    address: str


def read_hccn(text, source=HCCN_CONF):
    """Returns {device: address} from the text of an hccn.conf; ValueError where it holds none, or one twice."""
    found = {}
    for line in text.splitlines():
        match = _ADDRESS.match(line.strip())
        if match:
            device = int(match[1])
            if device in found:
                raise ValueError(f"{source}: address_{device} stands there twice")
            found[device] = match[2]
    if not found:
        raise ValueError(f"{source}: no line address_<device>=<address>; is this an Ascend server?")
    return found


def place(local_rank, local_size, devices, server, addresses):
    """Returns the Member for a local rank; ValueError where the server has more ranks than devices."""
    if local_size > len(devices):
        raise ValueError(
            f"{local_size} ranks on {server}, which has {len(devices)} devices: start at most as many as devices"
        )
    device = devices[local_rank]
    return Member(server, device, addresses[device])


def build_table(members):
    """Returns the rank table, a dict for JSON, of the Members in the order of their ranks."""
    servers = {}
    for rank, member in enumerate(members):
        entry = {"device_id": str(member.device), "device_ip": member.address, "rank_id": str(rank)}
        servers.setdefault(member.server, []).append(entry)
    seen = {}
    for rank, member in enumerate(members):
        other = seen.setdefault((member.server, member.device), rank)
        if other != rank:
            raise ValueError(f"ranks {other} and {rank} both have device {member.device} of {member.server}")
    return {
        "version": "1.0",
        "server_count": str(len(servers)),
        "server_list": [
            {"server_id": server, "device": devices, "host_nic_ip": "reserve"} for server, devices in servers.items()
        ],
        "status": "completed",
    }


def check_table(table, members, source):
    """Returns a list of lines, empty if none, on where a given table does not fit the world."""
    try:
        given = {
            int(device["rank_id"]): Member(server["server_id"], int(device["device_id"]), device["device_ip"])
            for server in table["server_list"]
            for device in server["device"]
        }
    except (KeyError, TypeError, ValueError) as error:
        return [f"{source}: not a rank table of version 1.0 ({type(error).__name__}: {error})"]
    complaints = []
    if table.get("status") != "completed":
        complaints.append(f"{source}: status is {table.get('status')!r}, must be 'completed'")
    if len(given) != len(members):
        complaints.append(f"{source}: it has {len(given)} ranks, the world {len(members)}")
    for rank, member in enumerate(members):
        if rank in given and given[rank] != member:
            complaints.append(f"{source}: rank {rank} is {given[rank]}, in this world it is {member}")
    return complaints


def gather_members(world, hccn_conf=HCCN_CONF, environment=os.environ, server=None):
    """Returns the Members of all ranks, by rank. Collective. ValueError on every rank if one server cannot be read."""
    try:
        try:
            text = Path(hccn_conf).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"{hccn_conf}: {error.strerror}; is this an Ascend server?") from None
        addresses = read_hccn(text, hccn_conf)
        devices = [int(name) for name in visible_devices("Ascend", environment, tuple(sorted(addresses)))]
        mine = place(world.local_rank, world.local_size, devices, server or host_address(), addresses)
    except ValueError as error:
        mine = str(error)
    members = world.allgather_object(mine)
    for rank, member in enumerate(members):
        if isinstance(member, str):
            raise ValueError(f"rank {rank}: {member}")
    return members


def table_for(world, given=None, hccn_conf=HCCN_CONF, environment=os.environ):
    """Returns the path of this world's rank table, or None where the servers have no hccn.conf to make one from.
    Collective.

    given: a table that exists (--rank_table, else RANK_TABLE_FILE); it is checked. Else local rank 0 of each host
    writes one into the folder for temporary files. ValueError with one line where a given table does not fit.
    """
    given = given or environment.get("RANK_TABLE_FILE")
    hosts_have_one = all(world.allgather_object(os.path.exists(hccn_conf)))
    if not given and not hosts_have_one:
        return None
    members = gather_members(world, hccn_conf, environment) if hosts_have_one else None
    if given:
        try:
            table = json.loads(Path(given).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"--rank_table {given}: {getattr(error, 'strerror', None) or 'not JSON'}") from None
        for complaint in check_table(table, members, given) if members else ():
            raise ValueError(f"--rank_table {complaint}")
        return given
    path = None
    if world.local_rank == 0:
        with tempfile.NamedTemporaryFile("w", prefix="rank_table-", suffix=".json", delete=False) as file:
            json.dump(build_table(members), file, indent=2)
            path = file.name
    return world.on_this_host(path)[0]
