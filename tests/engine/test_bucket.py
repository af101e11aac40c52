import numpy as np
import pytest

from cellwright.engine import explain_buckets, plan_buckets


@pytest.mark.parametrize("seed", range(20))
def test_every_tensor_travels_once_last_first_within_the_limit(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5000, rng.integers(1, 200)).tolist()
    limit = int(rng.integers(4, 40000))
    plan = plan_buckets(sizes, limit)
    order = [index for bucket in plan for index in bucket.indices]
    assert order == list(range(len(sizes)))[::-1]
    for bucket in plan:
        assert bucket.sizes == tuple(sizes[i] for i in bucket.indices)
        assert len(bucket.indices) == 1 or bucket.elements * 4 <= limit
    for earlier, later in zip(plan, plan[1:]):
        assert (earlier.elements + later.sizes[0]) * 4 > limit, "a bucket was closed too early"


def test_a_bucket_below_one_element_is_refused():
    with pytest.raises(ValueError, match="bucket_bytes = 3"):
        plan_buckets([1, 2], 3)


def test_explained_plan_names_both_ends():
    text = explain_buckets(["a", "b", "c"], [1000, 10, 10], 100)
    assert text.splitlines() == [
        "bucket 0: 0.00 MB, 2 tensors, c .. b",
        "bucket 1: 0.00 MB, 1 tensors, a .. a",
    ]
