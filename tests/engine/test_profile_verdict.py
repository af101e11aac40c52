"""The verdict is a function of measurements: for each cause, with it and without it."""

import dataclasses

import pytest

from cellwright.engine.profiling import Measurements, RankRun, judge

# Two ranks, nothing wrong: 100 ms of compute, an exchange of 2 ms.
GOOD = Measurements(
    as_is=(RankRun(103, 0.5), RankRun(103, 0.5)),
    cached=(RankRun(102), RankRun(102)),
    silent=(RankRun(100), RankRun(99)),
    steps=8,
    loader_ms=40,
    workers=1,
    buckets=2,
    gradient_bytes=40 << 20,
    affinity=((0,), (1,)),
    batch_size=32,
    phases={"forward": 30, "backward": 65, "update": 4, "host": 1},
)


def of(**changes):
    return judge(dataclasses.replace(GOOD, **changes))


def test_without_a_cause_it_is_compute():
    found = judge(GOOD)
    assert found.bound == "compute" and found.straggler is None
    assert found.headroom == pytest.approx(102 / 40)
    assert found.exposed_ms == pytest.approx(2)
    assert found.flag == "--batch_size 64" and 1 < found.gain < 1.1
    assert "Compute bounds the step: 103.0 ms, most of it backward (63 %)" in found.text
    assert "No straggler" in found.text and "No recompilation" in found.text and "each on its own" in found.text


def test_a_slow_loader():
    found = of(as_is=(RankRun(204, 100), RankRun(204, 101)), loader_ms=200, workers=1, affinity=((0, 1), (2, 3)))
    assert found.bound == "data" and found.headroom == pytest.approx(0.51)
    assert found.flag == "--workers 2" and found.gain == pytest.approx(2)
    assert "101.0 of them waiting for a batch" in found.text
    assert of(as_is=(RankRun(204, 100),) * 2, workers=1).flag.startswith("python -m launch.pack")
    assert "disk" in of(as_is=(RankRun(204, 100),) * 2, workers=1, packed=True).flag


def test_a_loader_that_takes_the_cores():
    found = of(as_is=(RankRun(150, 1),) * 2)
    assert found.bound == "data" and "only 1.0 are waiting" in found.text
    assert of(as_is=(RankRun(150, 1),) * 2, worker_ms=60).bound == "data"


def test_what_the_loader_cannot_have_cost_is_not_laid_on_it():
    found = of(as_is=(RankRun(150, 1),) * 2, worker_ms=5)
    assert found.bound == "compute" and found.costs["data"] == pytest.approx(6)
    noisy = of(cached=(RankRun(130),) * 2, as_is=(RankRun(131, 0, 4), RankRun(131, 0, 3)))
    assert noisy.bound == "compute" and noisy.exposed_ms == 4


def test_tiny_buckets_and_large_ones():
    slow = {"as_is": (RankRun(151, 0.5),) * 2, "cached": (RankRun(150),) * 2}
    found = of(**slow, buckets=360, gradient_bytes=32 << 20)
    assert found.bound == "allreduce" and found.flag == "--bucket_mb 25"
    assert found.gain == pytest.approx(151 / (151 - 50 * (1 - 2 / 360)))
    assert found.exposed_ms == pytest.approx(50)
    large = of(**slow)
    assert large.bound == "allreduce" and large.flag == "--accumulate 2" and large.gain == pytest.approx(151 / 126)


def test_the_exchange_is_estimated_where_it_cannot_be_left_out():
    found = of(silent=(), as_is=(RankRun(150, 0, 30), RankRun(150, 0, 31)), cached=(RankRun(150),) * 2)
    assert found.bound == "allreduce" and found.exposed_ms == 30 and "estimated" in found.text


def test_a_slow_rank():
    found = of(as_is=(RankRun(143),) * 2, cached=(RankRun(142),) * 2, silent=(RankRun(100), RankRun(140, host="b")))
    assert found.bound == "straggler" and found.straggler == 1
    assert found.gain == pytest.approx(143 / 103)
    assert "Straggler: rank 1" in found.text and "40.0 ms behind" in found.text
    hidden = of(silent=(), cached=(RankRun(142),) * 2, as_is=(RankRun(143, 0, 43), RankRun(143, 0, 3)))
    assert hidden.straggler == 1 and hidden.exposed_ms == 3
    assert of(silent=(RankRun(100), RankRun(104))).straggler is None


def test_recompilation():
    found = of(recompiled_s=8.0, recompilations=8)
    assert found.bound == "compilation" and "shape" in found.flag
    assert found.gain == pytest.approx(1103 / 103)
    assert "8 recompilations in 8 steps, 8.0 s" in found.text
    assert of(recompiled_s=0.01, recompilations=1).bound == "compute"


def test_cores_that_are_shared():
    found = of(affinity=((0, 1), (0, 1)), threads=2)
    assert found.bound == "cores" and found.flag.startswith("--bind auto") and "2.0 threads to a core" in found.text
    assert of(affinity=((0, 1), (2, 3)), threads=2).bound == "compute"
    two_hosts = tuple(RankRun(103, 0.5, host=name) for name in "ab")
    assert of(as_is=two_hosts, affinity=((0, 1), (0, 1)), threads=2).bound == "compute"
    assert of(affinity=((0,), (0,)), device_target="GPU").bound == "compute"


def test_one_rank_and_stock_kernels():
    found = judge(Measurements(as_is=(RankRun(100),), cached=(RankRun(99),), kernels="stock"))
    assert found.bound == "compute" and found.flag == "--kernels auto" and found.gain is None
    assert "One rank" in found.text and found.exposed_ms == 0 and found.headroom is None
