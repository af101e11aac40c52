"""The sampler: every sample where it belongs, for any number of samples, batch size and rank count."""

import itertools

import numpy as np
import pytest

from cellwright.dataloader import Sampler

SIZES = [(n, b, size) for n, b, size in itertools.product((1, 2, 7, 64, 101, 1000), (1, 3, 8, 64), (1, 2, 3, 7))]


@pytest.mark.parametrize("n, batch, size", SIZES)
def test_padded_evaluation_covers_every_sample_exactly_once(n, batch, size):
    samplers = [Sampler(n, batch, rank, size, shuffle=False, tail="pad") for rank in range(size)]
    assert len({len(sampler) for sampler in samplers}) == 1
    ids = np.concatenate([sampler.batch(sampler.order(3), b) for sampler in samplers for b in range(len(sampler))])
    assert sorted(ids[ids >= 0].tolist()) == list(range(n))
    assert ids.size == len(samplers[0]) * batch * size


@pytest.mark.parametrize("n, batch, size", SIZES)
def test_training_shards_do_not_overlap_and_wrap_leaves_nothing_out(n, batch, size):
    if n >= batch * size:
        samplers = [Sampler(n, batch, rank, size, seed=5) for rank in range(size)]
        ids = np.concatenate([sampler.batch(sampler.order(3), b) for sampler in samplers for b in range(len(sampler))])
        assert np.unique(ids).size == ids.size > n - batch * size
    samplers = [Sampler(n, batch, rank, size, seed=5, tail="wrap") for rank in range(size)]
    ids = np.concatenate([sampler.batch(sampler.order(3), b) for sampler in samplers for b in range(len(sampler))])
    assert set(ids.tolist()) == set(range(n))


@pytest.mark.parametrize("size", (2, 3))
@pytest.mark.parametrize("tail", ("drop", "wrap", "pad"))
def test_the_ranks_interleave_to_one_rank(size, tail):
    one = Sampler(1000, 8, seed=9, tail=tail)
    order = one.order(4)
    for rank in range(size):
        sampler = Sampler(1000, 8, rank, size, seed=9, tail=tail)
        for b in range(min(len(sampler), len(one) // size)):
            assert np.array_equal(sampler.batch(sampler.order(4), b), one.batch(order, b * size + rank))


def test_the_order_is_a_permutation_that_seed_and_epoch_change():
    orders = [Sampler(1000, 8, seed=seed).order(epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0), (2**40, 0))]
    for order in orders:
        assert np.array_equal(np.sort(order), np.arange(1000))
    for a, b in itertools.combinations(orders, 2):
        assert (a == b).mean() < 0.02
    # Every place is reached alike: the mean rank of sample 0 over many epochs is the middle.
    places = [int(np.argmax(Sampler(50, 1).order(epoch) == 0)) for epoch in range(2000)]
    assert abs(np.mean(places) - 24.5) < 1.5


@pytest.mark.parametrize(
    "wrong",
    (
        dict(samples=0),
        dict(batch_size=0),
        dict(rank=2),
        dict(tail="keep"),
        dict(batch_size=1000),
        dict(seed=-1),
    ),
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)) + "="):
        Sampler(**{**dict(samples=100, batch_size=8, rank=0, size=2), **wrong})
