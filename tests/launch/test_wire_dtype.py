"""--wire_dtype: where it acts, and where it is refused in one line."""

import pytest

from cellwright.launch.settings.resolve import read_settings


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
