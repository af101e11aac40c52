"""The one table of what programs are made of; `python kernels/csrc/operations.py` writes operations.h from it.

The Python side (program_abi) makes its structures from the same table, and compares digest and sizes with those of the
library when it is opened. It imports nothing of the project, so that it can be run from anywhere.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple


class Kind(NamedTuple):
    """An operation (on a chunk of images) or a job (on whole arrays): the names of its operands, integers and
    floats.
    """

    name: str
    operands: tuple
    integers: tuple = ()
    floats: tuple = ()


def _kind(name, operands, integers="", floats=""):
    return Kind(name, tuple(operands.split()), tuple(integers.split()), tuple(floats.split()))


_PLANE = "blocks pixels"
_WINDOW = (
    "blocks height width out_height out_width kernel_height kernel_width stride_height stride_width top left"
    " padded_height padded_width"
)
_RESIZE = "blocks height width out_height out_width linear corners centres"
_CHANNELS = "first count inner inner_stride outer_stride"
_CONVOLUTION = (
    "blocks height width out_height out_width kernel_height kernel_width stride_height stride_width"
    " dilation_height dilation_width top left"
)
_DEPTHWISE = f"{_CONVOLUTION} channels form"

OPERATIONS = (
    _kind("conv", "source weights bias target"),
    _kind("weight_gradient", "source sum bias_sum gradient part bias_part", "floats bias_floats"),
    _kind("paired_weight_gradient", "source gradient sum bias_sum pairs", f"{_CONVOLUTION} filter_blocks group"),
    _kind("import", "source target", "channels pixels form"),
    _kind("export", "source target", "channels pixels form"),
    _kind("copy", "source target", "floats"),
    _kind("add", "source target", "floats"),
    _kind("round", "source target", "floats form"),
    _kind("unpack", "source target", f"{_PLANE} channels form add"),
    _kind("frame", "source target", "blocks height width top left framed_height framed_width"),
    _kind("statistics", "source partial", _PLANE),
    _kind("affine", "source target mean scale shift", f"{_PLANE} channels form", "slope"),
    _kind("norm_reduce", "gradient source mean scale shift partial kept", f"{_PLANE} keep", "slope"),
    _kind(
        "apply",
        "gradient source target mean scale shift slopes constants",
        f"{_PLANE} channels form activated linear",
        "slope",
    ),
    _kind("max_pool", "source target", f"{_WINDOW} zero_padded"),
    _kind("max_pool_gradient", "source pooled gradient target sums", f"{_WINDOW} add"),
    _kind("avg_pool", "source target", f"{_WINDOW} count_padding divisor"),
    _kind("avg_pool_gradient", "gradient target sums", f"{_WINDOW} count_padding divisor add"),
    _kind("resize", "source target", _RESIZE),
    _kind("resize_gradient", "gradient target sums", f"{_RESIZE} add"),
    _kind("gather", "source target weights", _PLANE),
    _kind("gather_gradient", "source gradient weights target sum", f"{_PLANE} add"),
    _kind("join", "left right gate target", f"{_PLANE} linear_gate", "slope"),
    _kind(
        "join_gradient",
        "left joined gate gradient target gate_gradient",
        f"{_PLANE} add add_gate linear_gate",
        "slope",
    ),
    _kind("depthwise", "source weights bias target", _DEPTHWISE),
    _kind("depthwise_input_gradient", "gradient weights target", _DEPTHWISE),
    _kind("depthwise_weight_gradient", "source gradient sum bias_sum", _DEPTHWISE),
    _kind("channels", "source target", f"pixels {_CHANNELS} target_first total add"),
    _kind("channels_gradient", "source target", f"{_PLANE} {_CHANNELS} add"),
    _kind("pointwise", "source target", f"{_PLANE} channels function"),
    _kind("half", "source target", f"{_PLANE} add"),
    _kind("prelu", "source target slopes", f"{_PLANE} shared"),
    _kind("prelu_gradient", "source gradient target slopes sum", f"{_PLANE} shared add"),
    _kind("layer_norm", "source target gamma beta", f"{_PLANE} channels", "eps"),
    _kind(
        "layer_norm_gradient",
        "source gradient target gamma gamma_sum beta_sum",
        f"{_PLANE} channels add",
        "eps",
    ),
    _kind("group_norm", "source target gamma beta scratch", f"{_PLANE} channels group", "eps"),
    _kind(
        "group_norm_gradient",
        "source gradient target gamma scratch gamma_sum beta_sum",
        f"{_PLANE} channels group add",
        "eps",
    ),
    _kind("scale", "source target", f"{_PLANE} channels add", "factor shift"),
    _kind("dropout", "source target draw", f"{_PLANE} channels threshold whole add", "factor"),
    _kind("multiply", "left right target", f"{_PLANE} add"),
    _kind("pointwise_gradient", "source gradient target", f"{_PLANE} function add"),
)

JOBS = (
    _kind("unchanged", "source bias gamma beta moving_mean moving_variance seen"),
    _kind("fold", "source bias mean scale shift target target_bias", "filters row"),
    _kind("reorder", "source target", "floats round"),
    _kind("statistics", "partial mean variance", "channels pixels"),
    _kind(
        "norm",
        "mean variance scale shift gamma beta moving_mean moving_variance",
        "channels padded count",
        "eps momentum",
    ),
    _kind("norm_fixed", "mean variance scale shift gamma beta moving_mean moving_variance", "channels padded", "eps"),
    _kind(
        "norm_gradient",
        "partial variance scale gamma beta slope constant",
        "channels padded count add fixed",
        "eps",
    ),
    _kind("weight_gradient", "sum target", "floats"),
    _kind("grouped_reorder", "source expanded target", "filters row group count expanded_row floats"),
    _kind("grouped_weight_gradient", "sum expanded target", "filters row group count expanded_row floats"),
    _kind("paired_weight_gradient", "sum target", "floats channels filters window lanes"),
    _kind("bias_gradient", "sum target", "floats channels"),
    _kind("import", "source target", "channels pixels"),
    _kind("gather_gradient", "sum target", "floats channels pixels"),
    _kind("draw", "source target", "number seed"),
)
FIRST_JOB = 100

# The operations that programs in float32 have, and those that programs in bfloat16 have.
IN_FLOAT32 = frozenset(kind.name for kind in OPERATIONS) - {"paired_weight_gradient"}
IN_BFLOAT16 = frozenset(kind.name for kind in OPERATIONS) - {
    *("channels", "channels_gradient", "scale", "multiply"),
    *("layer_norm", "layer_norm_gradient", "group_norm", "group_norm_gradient"),
}

# How a tensor lies where convolutions take it: as it is stored; in blocks as float32; or as bfloat16 pixel by pixel,
# each with all channels, the images of a chunk side by side.
FORMS = ("STORED", "WIDE", "ROWS")

# What a convolution is made from, in this order.
CONVOLUTION = (
    "channels", "height", "width", "filters", "out_height", "out_width", "kernel_height", "kernel_width",
    "stride_height", "stride_width", "dilation_height", "dilation_width", "top", "left", "groups", "bias",
    "plain_source", "bfloat16", "rows", "relu",
)  # fmt: skip

MOST_INPUTS = 8  # images that a node takes; their shapes together select the program

# Where an operand lies, if not in the tensor of the node with that number.
BASES = (
    ("NONE", -1, "nowhere"),
    ("TAPE", -2, "saved from the forward to the backward node"),
    ("WORK", -3, "all images, until the node ends"),
    ("SCRATCH", -4, "one chunk, one thread, until the stage ends; offset for each image of the chunk's capacity"),
    ("PER_THREAD", -5, "in the work memory; `stride` is that of a thread"),
    ("KEPT", -6, "from one run of the program to the next"),
)

ERRORS = (
    ("UNBOUND", 70, "no kernel is bound to this slot"),
    ("UNPREPARED", 71, "a primitive of oneDNN was not prepared for this size of chunk"),
    ("WRONG_TENSORS", 72, "tensors of other shapes, dtypes or number than the node was planned for"),
    ("NO_PROGRAM", 73, "no program could be made for inputs of this shape"),
    ("UNKNOWN_KIND", 74, "an operation that this library does not have"),
    ("NO_MEMORY", 75, "out of memory"),
    ("UNKNOWN_GROUP", 76, "no such group of ranks"),
    ("RANKS_DIFFER", 77, "the ranks add up different tensors"),
    ("ONEDNN", 78, "oneDNN could not run a primitive"),
    ("OTHER_THREADS", 79, "the program was made for a team of another size"),
    ("UNALIGNED", 80, "a convolution in rows is given memory that does not begin with a cache line"),
    ("NOT_CARRIED", 81, "sums that are rounded have no place for what is rounded off"),
    ("NO_FACTORS", 82, "a gradient that comes as factors holds none: its layer runs several times in a step"),
)  # fmt: skip


def _structure(kind, name):
    fields = [f"  operand_t {', '.join(kind.operands)};"] if kind.operands else []
    fields += [f"  int64_t {', '.join(kind.integers)};"] if kind.integers else []
    fields += [f"  double {', '.join(kind.floats)};"] if kind.floats else []
    return "\n".join(["typedef struct {", *fields, f"}} {name}_t;"])


def _each(name, kinds):
    return f"#define {name}(X) " + " ".join(f"X({kind.name.upper()}, {kind.name})" for kind in kinds)


def header():
    """Returns the text of operations.h."""
    groups = (("op", "OP", OPERATIONS), ("job", "JOB", JOBS))
    names = [f"{prefix}_{kind.name}" for prefix, _, kinds in groups for kind in kinds]
    lines = [
        "/* Made by `python kernels/csrc/operations.py` from the table there; not to be edited. */",
        "#ifndef CELLWRIGHT_OPERATIONS_H",
        "#define CELLWRIGHT_OPERATIONS_H",
        "#include <stdint.h>",
        "",
        "/* Where an operand lies. `base`: the number of a tensor of the node, or one of these. In floats: offset,",
        " * stride (of an image) and channel (where a part of a concatenation begins inside each image). */",
        "enum {",
        *(f"  BASE_{name} = {number}, /* {meaning} */" for name, number, meaning in BASES),
        "};",
        "typedef struct {",
        "  int64_t base, offset, stride, channel;",
        "} operand_t;",
        "",
        f"#define MOST_INPUTS {MOST_INPUTS}",
        "enum { " + ", ".join(f"FORM_{name}" for name in FORMS) + " };",
        "",
        "enum {",
        *(f"  ERROR_{name} = {number}, /* {meaning} */" for name, number, meaning in ERRORS),
        "};",
        "",
        "typedef struct {",
        f"  int64_t {', '.join(CONVOLUTION)};",
        "} convolution_t;",
        "",
    ]
    for prefix, upper, kinds in groups:
        lines += [_structure(kind, f"{prefix}_{kind.name}") for kind in kinds]
        first = 0 if prefix == "op" else FIRST_JOB
        numbers = [f"  {upper}_{kind.name.upper()} = {first + k}," for k, kind in enumerate(kinds)]
        lines += ["enum {", *numbers, f"  {upper}_KINDS = {len(kinds)}", "};", ""]
    lines += [
        "/* continues: a job that the thread of the job before it goes on with. */",
        "typedef struct {",
        "  int64_t kind, continues;",
        "  void *handle;",
        "  union {",
        *(f"    {name}_t {name};" for name in names),
        "  };",
        "} op_t;",
        "",
        _each("EACH_FLOAT32_OPERATION", [kind for kind in OPERATIONS if kind.name in IN_FLOAT32]),
        _each("EACH_BFLOAT16_OPERATION", [kind for kind in OPERATIONS if kind.name in IN_BFLOAT16]),
    ]
    text = "\n".join(lines)
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")
    return f"{text}\n\n#define TABLE_DIGEST {digest}ll\n\n#endif\n", digest


if __name__ == "__main__":
    Path(__file__).with_name("operations.h").write_text(header()[0], encoding="utf-8")
