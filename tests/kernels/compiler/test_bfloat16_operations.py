"""Every operation on tensors stored as bfloat16 gives what it gives in float32 for the same numbers, rounded once to
the nearest, ties to even: with AVX2 and AVX-512, by integer arithmetic and by the processor's instruction.
"""

import ctypes
from pathlib import Path

import numpy as np
import pytest

from cellwright.kernels.compiler.emit import packed
from cellwright.kernels.compiler.schedule import Entry, Ref
from cellwright.kernels.compiler.tensors import ROWS, STORED, WIDE
from cellwright.kernels.csrc import operations, shim_available
from cellwright.kernels.csrc import program_abi as native

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")

IMAGES, HEIGHT, WIDTH, CHANNELS = 3, 5, 7, 40
PIXELS = HEIGHT * WIDTH
BY_INTEGERS, BY_INSTRUCTION = 1, 2
MACHINES = [(8, BY_INTEGERS), (16, BY_INTEGERS), (16, BY_INSTRUCTION)]


def skip_without(lanes):
    """Whatever oneDNN is limited to, the operations can be tried."""
    if lanes == 16 and "avx512vl" not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        pytest.skip("this machine has no AVX-512")


def rounded(array):
    """Returns float32 numbers rounded to the nearest bfloat16, ties to even, as uint16; numpy has none."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32).astype(np.uint64)
    top = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    top = np.where((bits & 0x7F800000) == 0, (bits >> 16) & 0x8000, top)  # less than the least normal number: zero
    return np.where(np.isnan(array), (bits >> 16) | 0x40, top).astype(np.uint16)


def widened(stored):
    return (stored.astype(np.uint32) << 16).view(np.float32)


class Buffers:
    """The operands of one operation, each a tensor of its own. float32 numbers that bfloat16 has, stored as either."""

    def __init__(self, storage, lanes):
        self.storage, self.lanes = storage, lanes
        self.arrays, self.refs, self.stored = {}, {}, {}
        self.draw = np.random.default_rng(3)
        self.blocks = -(-CHANNELS // lanes)

    def tensor(self, name, pixels=PIXELS):
        """An image's numbers in blocks, in a wider memory, as a part of a concatenation lies."""
        numbers = self.blocks * self.lanes * pixels
        values = self.draw.normal(size=(IMAGES, 2 * numbers)).astype(np.float32)
        self._put(name, values, stored=True)

    def array(self, name, numbers):
        """float32 in either program."""
        self._put(name, self.draw.normal(size=(1, numbers)).astype(np.float32), stored=False)

    def _put(self, name, values, stored):
        narrow = rounded(values)
        array = narrow if stored and self.storage else widened(narrow) if stored else values
        self.stored[name] = stored and bool(self.storage)
        self.refs[name] = Ref(len(self.arrays), 0, array.nbytes // 4 // len(array))
        self.arrays[name] = np.ascontiguousarray(array)

    def run(self, kind, **numbers):
        """Returns the arrays as float32 after the operation, or None where this machine cannot run it."""
        operation = packed([Entry("op", kind, {**self.refs, **numbers})])
        pointers = (ctypes.c_void_p * len(self.arrays))(*(array.ctypes.data for array in self.arrays.values()))
        code = native.library().cellwright_operation(operation, pointers, IMAGES, self.lanes, self.storage)
        if code < 0:
            return None
        assert code == 0
        return {name: widened(array) if self.stored[name] else array for name, array in self.arrays.items()}


PLANE = {"pixels": PIXELS, "channels": CHANNELS, "form": STORED}
OUT = {"height": 3, "width": 4}
WINDOW = {
    **{"height": HEIGHT, "width": WIDTH, "out_height": OUT["height"], "out_width": OUT["width"]},
    **{"kernel_height": 3, "kernel_width": 3, "stride_height": 2, "stride_width": 2},
    **{"top": 1, "left": 1, "padded_height": HEIGHT + 2, "padded_width": WIDTH + 2, "zero_padded": 0},
    **{"count_padding": 0, "divisor": 0, "dilation_height": 1, "dilation_width": 1, "corners": 0, "centres": 1},
}
NORMS = {
    "bias": CHANNELS,
    "mean": CHANNELS,
    "scale": CHANNELS,
    "shift": CHANNELS,
    "slopes": CHANNELS,
    "constants": CHANNELS,
}
SMALL_TENSORS = {"gate": 1, "gate_gradient": 1, "pooled": OUT["height"] * OUT["width"]}
# (operation, numbers; its operands are filled by their names), and what differs from the plain case
CASES = [
    *(("affine", {"slope": slope}) for slope in (1.0, 0.0, 0.25)),
    *(("norm_reduce", {"slope": 0.0, "keep": keep}) for keep in (0, 1, 2)),
    *(("apply", {"slope": 0.0, "activated": one, "linear": 1}) for one in (0, 1)),
    ("statistics", {}),
    *(("add", {}), ("copy", {})),
    ("max_pool", {}),
    *(("max_pool_gradient", {"add": add}) for add in (0, 1)),
    ("avg_pool", {}),
    *(("avg_pool_gradient", {"add": add}) for add in (0, 1)),
    ("depthwise", {}),
    ("depthwise_input_gradient", {}),
    ("depthwise_weight_gradient", {}),
    *(("resize", {"linear": k}) for k in (0, 1)),
    *(("resize_gradient", {"linear": k, "add": k}) for k in (0, 1)),
    *(("half", {"add": add}) for add in (0, 1)),
    *(("prelu", {"shared": k}) for k in (0, 1)),
    *(("prelu_gradient", {"shared": k, "add": k}) for k in (0, 1)),
    *(("dropout", {"threshold": 1 << 23, "whole": k, "add": k, "factor": 2.0}) for k in (0, 1)),
    ("gather", {}),
    *(("gather_gradient", {"add": add}) for add in (0, 1)),
    *(("join", {"slope": 0.0, "linear_gate": linear}) for linear in (0, 1)),
    *(("join_gradient", {"slope": 0.0, "linear_gate": 1, "add": add, "add_gate": add}) for add in (0, 1)),
    *(("pointwise", {"function": function}) for function in range(6)),
    *(("pointwise_gradient", {"function": function, "add": function % 2}) for function in range(6)),
]


def filled(kind, storage, lanes, numbers):
    """Returns Buffers with all operands of an operation, and its integers and floats."""
    found, table = Buffers(storage, lanes), native.KINDS["op", kind]
    padded = found.blocks * lanes
    for name in table.operands:
        if name in NORMS:
            found.array(name, padded)
        elif name == "partial":
            found.array(name, padded * 4)
        elif name == "draw":
            found.array(name, 1)
        elif name in ("weights", "sum", "bias_sum"):
            found.array(name, padded * PIXELS)
        elif name == "sums":
            found.array(name, lanes * PIXELS)
        elif name == "target" and kind == "gather" or name == "gradient" and kind == "gather_gradient":
            found.tensor(name, 1)
        elif (
            name == "target"
            and kind in ("max_pool", "avg_pool", "resize", "depthwise")
            or name == "gradient"
            and kind.startswith(("max", "avg", "depth", "resize"))
        ):
            found.tensor(name, OUT["height"] * OUT["width"])
        else:
            found.tensor(name, SMALL_TENSORS.get(name, PIXELS))
    size = 2 if storage else 1
    known = {**PLANE, **WINDOW, "blocks": found.blocks, "floats": padded * PIXELS // size, **numbers}
    return found, {name: known[name] for name in (*table.integers, *table.floats)}


@pytest.mark.parametrize("lanes, storage", MACHINES)
@pytest.mark.parametrize("kind, numbers", CASES)
def test_an_operation_is_that_in_float32_rounded_once(kind, numbers, lanes, storage):
    skip_without(lanes)
    wide, numbers32 = filled(kind, 0, lanes, numbers)
    narrow, numbers16 = filled(kind, storage, lanes, numbers)
    before = {name: array.copy() for name, array in narrow.arrays.items()}
    expected, found = wide.run(kind, **numbers32), narrow.run(kind, **numbers16)
    if found is None:
        pytest.skip("this machine does not round to bfloat16 by an instruction")
    changed = 0
    for name, array in expected.items():
        if name == "sums":  # room for sums in float32, which float32 itself does not need
            continue
        changed += not np.array_equal(narrow.arrays[name], before[name])
        wanted = widened(rounded(array)) if narrow.stored[name] else array
        np.testing.assert_array_equal(found[name], wanted, err_msg=name)
    assert changed


@pytest.mark.parametrize("lanes, storage", MACHINES)
def test_what_is_special_is_rounded_as_everywhere(lanes, storage):
    ties = [1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-8, 65535.0, 3.3895314e38, -3.3961775e38]
    special = np.array([*ties, np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 1.1754942e-38], np.float32)
    bits = np.random.default_rng(0).integers(0, 2**32, 4001 - len(special), np.uint32)
    values = np.concatenate([special, bits.view(np.float32)])[None].repeat(2, 0)
    target = np.zeros((2, values.shape[1]), np.uint16)
    arguments = {"source": Ref(0, 0, values.shape[1]), "target": Ref(1), "floats": values.shape[1], "form": STORED}
    operation = packed([Entry("op", "round", arguments)])
    pointers = (ctypes.c_void_p * 2)(values.ctypes.data, target.ctypes.data)
    skip_without(lanes)
    if native.library().cellwright_operation(operation, pointers, 2, lanes, storage):
        pytest.skip("this machine lacks the instructions")
    np.testing.assert_array_equal(target, rounded(values))
    np.testing.assert_array_equal(widened(rounded(values))[0, 6:12], special[6:12])  # infinities, NaN and zeros stay


def blocks_of(rows, lanes, blocks):
    """(N, pixels, channels) -> (N, blocks, pixels, lanes), what fills up the last block zero."""
    full = np.zeros((*rows.shape[:2], blocks * lanes), rows.dtype)
    full[..., : rows.shape[2]] = rows
    return full.reshape(len(rows), rows.shape[1], blocks, lanes).transpose(0, 2, 1, 3)


@pytest.mark.parametrize("lanes, storage", MACHINES)
@pytest.mark.parametrize("form", [STORED, WIDE, ROWS])
def test_a_form_holds_the_same_numbers(form, lanes, storage):
    """import -> form, affine -> form, form -> unpack, form -> export; the 40 channels are no whole number of blocks."""
    skip_without(lanes)
    draw, blocks = np.random.default_rng(1), -(-CHANNELS // lanes)
    images = widened(rounded(draw.normal(size=(IMAGES, CHANNELS, PIXELS))))
    rows = images.transpose(0, 2, 1)
    blocked = blocks_of(rows, lanes, blocks)
    stored = rounded(blocked)
    expected = {STORED: stored, WIDE: blocked, ROWS: rounded(rows)}[form]
    floats = expected.nbytes // 4 // IMAGES

    def run(kind, source, target, **more):
        source, target = np.ascontiguousarray(source), np.zeros(target.shape, target.dtype)
        refs = {
            name: Ref(k, 0, a.nbytes // 4 // IMAGES)
            for k, (name, a) in enumerate([("source", source), ("target", target)])
        }
        known = {**PLANE, "blocks": blocks, "form": form, "slope": 1.0, "add": 0, **more}
        table = native.KINDS["op", kind]
        numbers = {name: known[name] for name in (*table.integers, *table.floats)}
        operation = packed([Entry("op", kind, {**refs, **numbers})])
        pointers = (ctypes.c_void_p * 2)(source.ctypes.data, target.ctypes.data)
        code = native.library().cellwright_operation(operation, pointers, IMAGES, lanes, storage)
        if code < 0:
            pytest.skip("this machine lacks the instructions")
        return target

    assert floats * 4 * IMAGES == expected.nbytes
    np.testing.assert_array_equal(run("import", images, expected), expected)
    np.testing.assert_array_equal(run("affine", stored, expected), expected)
    np.testing.assert_array_equal(run("unpack", expected, stored), stored)
    np.testing.assert_array_equal(run("export", expected, images), images)


def test_every_operation_in_bfloat16_is_tried():
    elsewhere = {"conv", "weight_gradient", "paired_weight_gradient", "round", "import", "export", "unpack", "frame"}
    assert {kind for kind, _ in CASES} | elsewhere == operations.IN_BFLOAT16
