"""The kinds of steps that a fuzzed network is made of.

One class a kind: the shape of its result, its cell and its call as source text, its parameters, and what it computes in
plain numpy. `shape` raises Impossible for settings that do not fit.
"""

from fuzz.layers.activation import ACTIVATIONS, Act, PRelu
from fuzz.layers.convolution import Conv, Dense, Unused
from fuzz.layers.dropout import Dropout
from fuzz.layers.join import Add, Concat, Multiply
from fuzz.layers.kind import Impossible
from fuzz.layers.norm import Factors, GroupNorm, Norm, PixelNorm
from fuzz.layers.pool import AvgPool, MaxPool, Mean, Upsample
from fuzz.layers.rearrange import Flatten, Same, Scale, Shuffle, Slice, Split
from fuzz.layers.resize import Resize

KINDS = {
    "conv": Conv(),
    "norm": Norm(),
    "group_norm": GroupNorm(),
    "pixel_norm": PixelNorm(),
    "factors": Factors(),
    "act": Act(),
    "prelu": PRelu(),
    "max_pool": MaxPool(),
    "avg_pool": AvgPool(),
    "add": Add(),
    "multiply": Multiply(),
    "concat": Concat(),
    "mean": Mean(),
    "flatten": Flatten(),
    "dense": Dense(),
    "scale": Scale(),
    "dropout": Dropout(),
    "same": Same(),
    "shuffle": Shuffle(),
    "slice": Slice(),
    "split": Split(),
    "upsample": Upsample(),
    "resize": Resize(),
    "unused": Unused(),
}

__all__ = ["ACTIVATIONS", "KINDS", "Impossible"]
