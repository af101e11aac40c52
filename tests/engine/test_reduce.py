"""Gradients into flat buckets and out again."""

import numpy as np
import pytest
from mindspore import Parameter, Tensor, mutable, nn

from cellwright.engine import LossScale, Momentum
from cellwright.engine.step.reduce import Reduce
from cellwright.engine.step.update import Update
from cellwright.kernels.nodes import Allreduce


class There(nn.Cell):
    """Gradients through the buckets and back."""

    def __init__(self, reduce):
        super().__init__()
        self.reduce = reduce

    def construct(self, gradients, numbers):
        return self.reduce.split(self.reduce(gradients, numbers))


# Buckets of one tensor each, all of one shape; two alike of two tensors; and mixed ones.
@pytest.mark.parametrize(
    "shapes, bucket_bytes",
    [(((8, 3),) * 4, 96), (((8, 3), (5,)) * 3, 120), (((4, 4), (4, 4), (7,), (), (4, 4), (2, 8), (4, 4)), 150)],
)
def test_every_gradient_comes_back_to_its_own_parameter(shapes, bucket_bytes):
    draw = np.random.default_rng(0)
    arrays = [np.asarray(draw.normal(size=shape), np.float32) for shape in shapes]
    params = [Parameter(Tensor(np.zeros_like(array)), name=f"p{k}") for k, array in enumerate(arrays)]
    numbers = tuple(Tensor(np.float32(k)) for k in (5, 6, 7))
    cell = There(Reduce(params, None, bucket_bytes))
    gradients, riders = cell(mutable(tuple(map(Tensor, arrays))), mutable(numbers))
    for found, expected in zip(gradients, arrays, strict=True):
        np.testing.assert_array_equal(found.asnumpy(), expected)
    assert [float(number) for number in riders] == [5, 6, 7]


class Carrying(Allreduce):
    """One that says it keeps what it rounds off."""

    carries = True

    def carry(self, sizes):
        self.sizes = sizes


def test_what_is_rounded_off_waits_for_a_step_of_the_same_scale_that_is_taken():
    params = [Parameter(Tensor(np.zeros(shape, np.float32)), name=f"p{shape}") for shape in (3, 5)]
    allreduce = Carrying(2)
    Update(Momentum(params, 0.9), LossScale.fixed(8.0, drop_overflow=False), allreduce=allreduce, bucket_bytes=16)
    assert allreduce.sizes == [5, 3], "the numbers beside the gradients are not rounded"
    for scale in (LossScale.dynamic(), LossScale.none(drop_overflow=True)):
        with pytest.raises(ValueError, match="wire_dtype bfloat16.*a fixed scale, and no drop_overflow"):
            Update(Momentum(params, 0.9), scale, allreduce=Carrying(2))
