"""Loss scale: the factor that keeps float16 gradients above underflow, fixed or adapted to overflow."""

from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops


@dataclass(frozen=True)
class LossScale:
    """Settings of the loss scale; make one with `none`, `fixed` or `dynamic`.

    init: the first factor. drop_overflow: skip a step whose gradients are not finite (without it they are applied, as
    the zoo's recipes did). Dynamic: factor * growth after `window` good steps in a row, * backoff on each overflow,
    kept within [floor, ceiling].
    """

    init: float = 1.0
    is_dynamic: bool = False
    drop_overflow: bool = False
    growth: float = 2.0
    backoff: float = 0.5
    window: int = 2000
    floor: float = 1.0
    ceiling: float = 2.0**24

    def __post_init__(self):
        if not (np.isfinite(self.init) and self.init > 0):
            raise ValueError(f"loss scale = {self.init}: must be a finite number > 0")
        if not self.is_dynamic:
            return
        if not self.drop_overflow:
            raise ValueError(
                "drop_overflow = False: a dynamic loss scale overflows on purpose and must drop those steps"
            )
        if not self.growth > 1.0:
            raise ValueError(f"growth = {self.growth}: must be > 1 (dynamic loss scale)")
        if not 0.0 < self.backoff < 1.0:
            raise ValueError(f"backoff = {self.backoff}: must be in (0, 1) (dynamic loss scale)")
        if self.window < 1:
            raise ValueError(f"window = {self.window}: must be >= 1 step (dynamic loss scale)")
        if not 0.0 < self.floor <= self.init <= self.ceiling:
            raise ValueError(f"loss scale = {self.init}: must be within floor {self.floor} and ceiling {self.ceiling}")

    @classmethod
    def of(cls, given) -> "LossScale":
        """Returns the setting that is meant by a LossScale, a number or None."""
        if given is None:
            return cls.none()
        return given if isinstance(given, cls) else cls.fixed(given)

    @classmethod
    def none(cls, drop_overflow: bool = False) -> "LossScale":
        """Returns the setting without a factor."""
        return cls(1.0, drop_overflow=drop_overflow)

    @classmethod
    def fixed(cls, factor: float = 1024.0, drop_overflow: bool = True) -> "LossScale":
        """Returns the setting with one factor for all steps."""
        return cls(float(factor), drop_overflow=drop_overflow)

    @classmethod
    def dynamic(
        cls,
        init: float = 65536.0,
        window: int = 2000,
        growth: float = 2.0,
        backoff: float = 0.5,
        floor: float = 1.0,
        ceiling: float = 2.0**24,
    ) -> "LossScale":
        """Returns the setting that grows until it overflows and then backs off (Micikevicius et al. 2018)."""
        return cls(float(init), True, True, growth, backoff, window, floor, ceiling)


class Scale(nn.Cell):
    """Holds the factor as a parameter of the graph; `construct(finite)` adapts it after a step and returns its
    new value.
    """

    def __init__(self, settings):
        super().__init__(auto_prefix=False)
        self.is_dynamic = settings.is_dynamic
        self.growth, self.backoff, self.window = settings.growth, settings.backoff, settings.window
        self.floor, self.ceiling = settings.floor, settings.ceiling
        self.value = Parameter(Tensor(settings.init, ms.float32), name="loss_scale", requires_grad=False)
        self.good_steps = Parameter(Tensor(0, ms.int32), name="good_steps", requires_grad=False)

    def construct(self, finite):
        good = ops.select(finite, self.good_steps + 1, 0)
        grow = good >= self.window
        value = ops.select(finite, ops.select(grow, self.value * self.growth, self.value), self.value * self.backoff)
        value = ops.clip_by_value(value, self.floor, self.ceiling)
        ops.assign(self.value, value)
        ops.assign(self.good_steps, ops.select(grow, 0, good))
        return value
