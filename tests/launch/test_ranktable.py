import json

import pytest
from runs import command

from cellwright.launch.host.devices import visible_devices
from cellwright.launch.host.rank_table import Member, build_table, check_table, place, read_hccn

CONF = "\n".join(f"address_{device}=192.168.{100 + device % 4}.{101 + device // 4}" for device in range(8))


def simulated(servers, ranks_each, environment=None):
    """The Members of a world of several servers with the same hccn.conf."""
    addresses = read_hccn(CONF)
    devices = [int(name) for name in visible_devices("Ascend", environment or {}, tuple(sorted(addresses)))]
    return [place(local, ranks_each, devices, server, addresses) for server in servers for local in range(ranks_each)]


def test_eight_devices_of_one_server():
    table = build_table(simulated(["10.0.0.1"], 8))
    assert table["version"] == "1.0" and table["server_count"] == "1" and table["status"] == "completed"
    (server,) = table["server_list"]
    assert server["server_id"] == "10.0.0.1"
    assert [device["rank_id"] for device in server["device"]] == [str(rank) for rank in range(8)]
    assert server["device"][5] == {"device_id": "5", "device_ip": "192.168.101.102", "rank_id": "5"}


def test_ranks_go_on_over_several_servers():
    table = build_table(simulated(["10.0.0.1", "10.0.0.2", "10.0.0.3"], 4))
    assert table["server_count"] == "3"
    assert [device["rank_id"] for server in table["server_list"] for device in server["device"]] == [
        str(r) for r in range(12)
    ]
    assert [device["device_id"] for device in table["server_list"][2]["device"]] == ["0", "1", "2", "3"]


def test_visible_devices_are_kept_to():
    members = simulated(["10.0.0.1"], 2, {"ASCEND_RT_VISIBLE_DEVICES": "6,2"})
    assert [member.device for member in members] == [6, 2]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: simulated(["10.0.0.1"], 9), "9 ranks on 10.0.0.1, which has 8 devices"),
        (lambda: simulated(["a"], 1, {"ASCEND_RT_VISIBLE_DEVICES": "9"}), "there is no device 9"),
        (lambda: simulated(["a"], 1, {"ASCEND_RT_VISIBLE_DEVICES": "x"}), "'x' is not a device"),
        (lambda: read_hccn("netmask_0=255.255.255.0", "conf"), "conf: no line address_"),
        (lambda: read_hccn("address_0=1.1.1.1\naddress_0=1.1.1.2"), "address_0 stands there twice"),
        (lambda: build_table([Member("a", 0, "1.1.1.1")] * 2), "ranks 0 and 1 both have device 0 of a"),
    ],
)
def test_what_cannot_be_a_table_is_said_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_a_given_table_is_checked_against_the_world():
    members = simulated(["10.0.0.1", "10.0.0.2"], 2)
    table = build_table(members)
    assert check_table(table, members, "t.json") == []
    assert "it has 4 ranks, the world 3" in check_table(table, members[:3], "t.json")[0]
    assert "rank 1 is" in check_table(table, [members[0], members[2], members[1], members[3]], "t.json")[0]
    assert "not a rank table" in check_table({"devices": []}, members, "t.json")[0]


def test_mpirun_makes_one(tmp_path):
    conf = tmp_path / "hccn.conf"
    conf.write_text(CONF)
    command("launch.ranktable", "--hccn_conf", conf, "--output", tmp_path / "table.json", ranks=3)
    table = json.loads((tmp_path / "table.json").read_text())
    assert [device["rank_id"] for device in table["server_list"][0]["device"]] == ["0", "1", "2"]
    fits = command("launch.ranktable", "--hccn_conf", conf, "--rank_table", tmp_path / "table.json", ranks=3)
    assert "fits this world of 3 ranks" in fits.stdout
    other = command(
        "launch.ranktable", "--hccn_conf", conf, "--rank_table", tmp_path / "table.json", ranks=2, check=False
    )
    assert other.returncode != 0 and "it has 3 ranks, the world 2" in other.stderr


def test_a_host_without_ascend_is_said_so(tmp_path):
    done = command("launch.ranktable", "--hccn_conf", tmp_path / "none", check=False)
    assert done.returncode == 2 and "is this an Ascend server?" in done.stderr
