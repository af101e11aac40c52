"""A link with a stated delay between two namespaces, carried by a process of its own."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cellwright.launch.host import delayed_link as module
from cellwright.launch.host.delayed_link import FRAME, PAYLOAD, Way, wire_bytes
from cellwright.launch.host.namespaces import namespaces

DELAY_US = 20_000  # far from what a socket takes by itself
MEGABYTES = 8
HEADERS = 10 + 52  # of a packet as the device hands it over: virtio, IP and TCP
SERVER = """
import hashlib, socket
server = socket.create_server(("10.77.0.2", 5555))
print("listens", flush=True)
connection, _ = server.accept()
for _ in range(3):
    connection.sendall(connection.recv(1))
digest = hashlib.sha256()
while part := connection.recv(1 << 20):
    digest.update(part)
print(digest.hexdigest())
"""
CLIENT = """
import random, socket, sys, time
client = socket.create_connection(("10.77.0.2", 5555))
times = []
for _ in range(3):
    began = time.perf_counter()
    client.sendall(b"x")
    client.recv(1)
    times.append(time.perf_counter() - began)
client.sendall(random.Random(0).randbytes(int(sys.argv[1])))
print(min(times))
"""


@pytest.fixture
def hosts(tmp_path):
    """Two hosts on a link with a delay."""
    try:
        with namespaces(tmp_path, gbit=1.0, delay_us=DELAY_US) as made:
            yield made
    except PermissionError as error:
        pytest.skip(str(error))


def inside(host, program, *arguments):
    line = ["timeout", "60", "ip", "netns", "exec", host, sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, text=True)


def test_a_round_trip_takes_twice_the_delay_and_bytes_arrive_as_they_were(hosts):
    import random

    first, second = hosts.names.values()
    with inside(second, SERVER) as server:
        assert server.stdout.readline() == "listens\n"
        with inside(first, CLIENT, MEGABYTES << 20) as client:
            quickest = float(client.communicate()[0])
        received = server.communicate()[0].strip()
    assert quickest >= 2e-6 * DELAY_US
    assert received == hashlib.sha256(random.Random(0).randbytes(MEGABYTES << 20)).hexdigest()


def relays():
    """Returns the ids of this process's children that carry packets."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and "delayed_link.py" in (folder / "cmdline").read_text():
                found.append(folder.name)
        except (OSError, ValueError):
            continue
    return found


def test_nothing_is_left_of_a_link_whose_user_failed(tmp_path):
    names = []
    try:
        with pytest.raises(ZeroDivisionError), namespaces(tmp_path, gbit=1.0, delay_us=DELAY_US) as made:
            names.extend(made.names.values())
            assert len(relays()) == 1
            raise ZeroDivisionError
    except PermissionError as error:
        pytest.skip(str(error))
    assert relays() == []
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not [name for name in names if name in listed]


def test_a_device_that_cannot_be_had_is_one_line(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(module, "open", refuse, raising=False)
    with pytest.raises(PermissionError, match="^a link with a delay needs TUN devices: /dev/net/tun: not permitted$"):
        with module.delayed_link(["first", "second"], delay_us=DELAY_US):
            pass


def test_a_packet_takes_the_wire_for_the_frames_that_it_fills():
    assert wire_bytes(52 + 10 * PAYLOAD) == 10 * FRAME
    assert wire_bytes(52 + PAYLOAD + 1) == FRAME + (FRAME - PAYLOAD) + 1
    assert wire_bytes(52) == wire_bytes(40) == FRAME - PAYLOAD  # an acknowledgement


def test_packets_leave_one_behind_the_other_and_wait_for_the_delay():
    (source, sent), (arrived, target) = os.pipe(), os.pipe()
    os.set_blocking(source, False)
    os.set_blocking(arrived, False)
    try:
        way = Way(source, target, bytes_per_s=FRAME / 1e-3, delay=5e-3)  # a frame a millisecond
        os.write(sent, bytes(HEADERS + PAYLOAD))
        way.take(10.0)
        os.write(sent, bytes(HEADERS + 2 * PAYLOAD))
        way.take(10.0001)  # the wire is taken until 10.001
        assert way.wakes_at() == pytest.approx(10.003 - 1e-3) and not way.drained
        assert [due for due, _ in way.travelling] == pytest.approx([10.006, 10.008])
        way.deliver(10.0059)
        with pytest.raises(BlockingIOError):
            os.read(arrived, 1)
        way.deliver(10.0061)
        assert len(os.read(arrived, 1 << 16)) == HEADERS + PAYLOAD
        os.write(sent, bytes(HEADERS + PAYLOAD))
        way.take(10.0015)  # full further ahead than it is read
        assert len(way.travelling) == 1
        way.take(10.0025)
        assert [due for due, _ in way.travelling] == pytest.approx([10.008, 10.009])
    finally:
        for file in (source, sent, arrived, target):
            os.close(file)
