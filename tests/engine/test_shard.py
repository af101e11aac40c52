"""An optimizer whose update ranks share, by itself: what it holds, what a checkpoint gets, what is refused."""

from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor

from cellwright.engine import AdamW, Momentum
from cellwright.engine.step.shard_state import own_rows, whole_rows
from cellwright.kernels.csrc import shim_available
from cellwright.kernels.nodes import MomentumStep


def optimizer(begin=10, end=35, host=0, kernel=MomentumStep, numbers=40):
    params = [Parameter(Tensor(np.ones(shape), ms.float32), name=f"p{shape[0]}") for shape in ((3, 4), (numbers - 12,))]
    group = SimpleNamespace(number=0, host=host, ranks=2, part=lambda total: (begin, end))
    return Momentum(params, kernel=kernel, shard=group)


class AmongOthers:
    """Rank 0 of a world whose other ranks have zeros to give."""

    rank = 0

    def allreduce(self, array):
        return array + np.zeros_like(array)


@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
def test_a_checkpoint_gets_every_bit_of_a_part_and_the_part_comes_back():
    held = optimizer()
    values = np.linspace(-1, 1, 25).astype(np.float32)
    values[:4] = -0.0, np.nan, -np.inf, 1e-42  # a sum of floats would make the first one +0.0
    assert held.sharded["moments"].shape == (36,), "room for the largest part"
    held.sharded["moments"].set_data(Tensor(np.append(values, np.zeros(11, np.float32))))
    assert [p.name for p in held.state()] == ["moments"]
    row = whole_rows(held, AmongOthers())["moments"]
    assert (
        row[10:35].tobytes()
        == values.tobytes()
        == held.shard.own("moments", held.shard.named("moments", row))[:25].tobytes()
    )
    assert not row[:10].any() and not row[35:].any() and row.tobytes() == own_rows(held)["moments"].tobytes()
    named = held.shard.named("moments", row)
    assert {name: array.shape for name, array in named.items()} == {"moments.p3": (3, 4), "moments.p28": (28,)}
    assert not whole_rows(optimizer(host=1), AmongOthers())["moments"].any(), "another host has it too"


@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
def test_state_of_another_network_is_refused_by_name():
    held = optimizer()
    named = held.shard.named("moments", np.zeros(40, np.float32))
    with pytest.raises(ValueError, match=r"moments\.p28 is missing"):
        held.shard.own("moments", {"moments.p3": named["moments.p3"]})
    with pytest.raises(ValueError, match=r"moments\.p3 is of shape \(2,\)"):
        held.shard.own("moments", named | {"moments.p3": np.zeros(2, np.float32)})
    with pytest.raises(ValueError, match="need the world"):
        whole_rows(held, None)


def test_what_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="needs a kernel"):
        optimizer(kernel=None)
    with pytest.raises(ValueError, match="31 numbers are too few to share between 2 ranks"):
        optimizer(0, 16, numbers=31)


@pytest.mark.parametrize("kind", [Momentum, AdamW])
def test_gradients_of_one_rank_alone_need_a_shard_that_sums_them(kind):
    (parameter,) = params = [Parameter(Tensor(np.ones(3), ms.float32), name="p")]
    alone = kind(params)
    with pytest.raises(ValueError, match="own = True: nobody shares this update"):
        alone((Tensor(np.ones(3), ms.float32),), 0.1, 1.0, True)
    np.testing.assert_array_equal(parameter.asnumpy(), np.ones(3))
