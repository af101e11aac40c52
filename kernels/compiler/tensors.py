"""What layers become for one input shape: tensors in memory, views of them, and results that are never computed by
themselves.
"""

import dataclasses

from cellwright.kernels.compiler.symbols import Untraceable
from cellwright.kernels.csrc.operations import FORMS

BLOCKED, PLAIN = "blocked", "plain"  # (N, channels / lanes, H, W, lanes) and (N, channels, H, W)
FLOAT32, BFLOAT16 = "float32", "bfloat16"
# How convolutions take a tensor: as it is stored; as float32 in blocks; as bfloat16 in rows, (N, H, W, channels). The
# last two are for programs in bfloat16 and exist in scratch memory alone.
STORED, WIDE, ROWS = range(len(FORMS))


@dataclasses.dataclass(eq=False)
class Stored:
    """A tensor that is written to memory: (N, channels, height, width); flat: the network sees it as (N, channels)."""

    kind: object  # see layers
    channels: int
    height: int
    width: int
    sources: tuple = ()
    numbers: dict = dataclasses.field(default_factory=dict)
    parameters: dict = dataclasses.field(default_factory=dict)
    whole: "Stored" = None  # the concatenation that this is a part of
    offset: int = 0  # its first channel there
    parts: tuple = ()
    views: list = dataclasses.field(default_factory=list)
    name: str = ""  # of the layer whose result it is
    flat: bool = False
    dtype: str = FLOAT32
    layout: str = BLOCKED

    @property
    def pixels(self):
        return self.height * self.width

    @property
    def extents(self):
        return self.channels, self.height, self.width

    def root(self):
        """Returns the outermost concatenation around this tensor and its first channel there."""
        tensor, offset = self, 0
        while tensor.whole is not None:
            tensor, offset = tensor.whole, offset + tensor.offset
        return tensor, offset

    def leaves(self):
        """Returns the tensors that operations write, of which this one consists."""
        return [leaf for part in self.parts for leaf in part.leaves()] if self.parts else [self]


@dataclasses.dataclass(eq=False)
class View:
    """act(norm(stored)), either of which may be absent; computed where it is needed and not kept."""

    stored: Stored
    norm: object = None  # the trace's layer
    slope: float = 1.0  # of the activation for negative numbers; 1 is none
    consumers: int = 0

    @property
    def name(self):
        return self.norm.name if self.norm is not None else self.stored.name

    @property
    def plain(self):
        return self.norm is None and self.slope == 1.0


class Deferred:
    """A result that the layer which reads it computes together with its own, or else `materialize` by itself.

    like: a Stored of its height and width, if there is one.
    """

    like = None

    def materialize(self, tensors):
        """Returns the View of this result, computed and stored; Untraceable where there is no operation for that."""
        raise Untraceable(f"a {type(self).__name__} is used in a way that programs do not know")
