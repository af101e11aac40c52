"""--wire_dtype: where it acts, and where it is refused in one line."""

import pytest
from runs import command

from cellwright.launch.settings.resolve import read_settings


def test_on_one_host_nothing_travels_and_it_is_refused(tmp_path):
    flags = ("--net", "tinydarknet", "--run_dir", tmp_path / "run", "--wire_dtype", "bfloat16")
    done = command("launch.train", *flags, check=False)
    assert done.returncode == 2 and not (tmp_path / "run").exists()
    assert "--wire_dtype bfloat16 would do nothing: all ranks are on one host" in done.stderr


@pytest.mark.parametrize(
    "line, reason",
    [
        ("--wire_dtype bfloat16 --backend mccl", "would do nothing: it belongs to --backend mpi"),
        ("--wire_dtype bfloat16 --overlap auto", "sums that overlap with the backward travel as float32"),
        ("--wire_dtype bfloat16 --drop_overflow", "of a step that is dropped stays"),
        ("--wire_dtype bfloat16 --dynamic_loss_scale", "a loss scale that moves"),
    ],
)
def test_beside_what_it_cannot_work_with_it_is_refused(line, reason):
    with pytest.raises(ValueError) as error:
        read_settings(line.split(), "program")
    assert reason in str(error.value) and "\n" not in str(error.value)
    read_settings(["--wire_dtype", "bfloat16"], "program")
