import pytest

from cellwright.launch.host.devices import device_of, plan_devices, present_devices, visible_devices
from cellwright.launch.host.mpi_world import World


def simulated(ranks, environments, present=(0, 1, 2, 3), target="GPU"):
    return plan_devices([visible_devices(target, environments[rank], present) for rank in range(ranks)], target)


@pytest.mark.parametrize("target, variable", [("GPU", "CUDA_VISIBLE_DEVICES"), ("Ascend", "ASCEND_RT_VISIBLE_DEVICES")])
@pytest.mark.parametrize("value, plan", [(None, [0, 1, 2]), ("3,1,0", [0, 1, 2])])
def test_ranks_take_what_they_see_in_turn(target, variable, value, plan):
    environment = {} if value is None else {variable: value}
    assert simulated(3, [environment] * 3, target=target) == plan


def test_ranks_that_are_shown_one_device_each_take_their_first():
    assert simulated(3, [{"CUDA_VISIBLE_DEVICES": str(rank)} for rank in range(3)]) == [0, 0, 0]


def test_two_groups_of_ranks():
    shown = [{"CUDA_VISIBLE_DEVICES": value} for value in ("0,1", "2,3", "0,1", "2,3")]
    assert simulated(4, shown) == [0, 0, 1, 1]


def test_uuids_are_taken_as_they_are():
    assert simulated(2, [{"CUDA_VISIBLE_DEVICES": "GPU-8932f937,MIG-12aa"}] * 2) == [0, 1]


@pytest.mark.parametrize(
    "ranks, value, message",
    [
        (
            5,
            None,
            "5 ranks on this host, but local rank 4 may use 4 GPU devices (0, 1, 2, 3): "
            "start at most one rank a device",
        ),
        (2, "2", "local rank 1 may use 1 GPU device (2)"),
        (1, "", "local rank 0 may use 0 GPU devices (none)"),
        (1, "0,0", "CUDA_VISIBLE_DEVICES=0,0: one device is named twice"),
        (1, "0,x", "'x' is not a device"),
        (1, "7", "there is no device 7, this host has 0, 1, 2, 3"),
    ],
)
def test_what_does_not_fit_is_one_line(ranks, value, message):
    environment = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    with pytest.raises(ValueError) as error:
        simulated(ranks, [environment] * ranks)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_two_ranks_never_share_a_device_by_different_lists():
    with pytest.raises(ValueError, match="local ranks 0 and 1 would both take GPU 0"):
        simulated(2, [{"CUDA_VISIBLE_DEVICES": "0,1"}, {"CUDA_VISIBLE_DEVICES": "0"}])


def test_present_devices_are_read_from_dev(tmp_path):
    for name in ("nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm", "davinci2", "davinci5", "davinci_manager"):
        (tmp_path / name).touch()
    assert present_devices("GPU", tmp_path) == (0, 1)
    assert present_devices("Ascend", tmp_path) == (2, 5)
    assert present_devices("GPU", tmp_path / "none") is None


class Host(World):
    """Local rank 1 of a host whose ranks see `shown`."""

    def __init__(self, shown):
        super().__init__()
        self.local_rank, self.local_size, self.shown = 1, len(shown), shown

    def on_this_host(self, value):
        return self.shown


def test_a_rank_takes_its_place_in_the_plan():
    assert device_of(World(), "CPU") == 0
    assert device_of(Host([("4", "5"), ("4", "5")]), "GPU", environment={}) == 1
    with pytest.raises(ValueError, match="--device_id 0: 2 ranks on this host cannot share one device"):
        device_of(Host([("4", "5"), ("4", "5")]), "GPU", 0, environment={})


def test_an_error_of_one_rank_is_every_ranks_error():
    with pytest.raises(ValueError, match="named twice"):
        device_of(Host([ValueError("named twice"), ("0",)]), "GPU", environment={})
