"""Which loops oneDNN has for a convolution, and what makes it one for which they are compiled: another form of its
tensors, more weights, zeros round its images.

Where oneDNN has nothing better it runs reference loops, hundreds of times slower.
"""

import functools

from cellwright.kernels.compiler import forms
from cellwright.kernels.compiler.layers.depthwise import is_depthwise
from cellwright.kernels.compiler.layers.groups import Expansion, merged
from cellwright.kernels.compiler.symbols import Untraceable
from cellwright.kernels.compiler.tensors import BFLOAT16, PLAIN, ROWS, STORED, WIDE
from cellwright.kernels.csrc import program_abi as native


def shape(stored, bias, form):
    """Returns the numbers of a convolution as it is run, its tensors in a form, by the names of the table."""
    numbers, wider = _shape(stored, bias, form), expansion(stored)
    if wider is not None:
        numbers |= {"groups": wider.groups // wider.count, "channels": wider.run_channels}
    return numbers


def _shape(stored, bias, form):
    source = stored.sources[0].stored
    return {
        **stored.numbers,
        "channels": source.channels,
        "height": source.height,
        "width": source.width,
        "filters": stored.channels,
        "out_height": stored.height,
        "out_width": stored.width,
        "bias": int(bias),
        "plain_source": int(source.layout == PLAIN and form != ROWS),
        "bfloat16": int(stored.dtype == BFLOAT16 and form != WIDE),
        "rows": int(form == ROWS),
        "relu": 0,
    }


def choose_form(stored, trial=False):
    """Returns the form in which a convolution takes its tensors: the machine's fastest, or float32 where oneDNN has no
    compiled loops for that.

    trial: Untraceable is raised where it has none at all.
    """
    bias, narrow = "bias" in stored.parameters, stored.dtype == BFLOAT16
    if narrow and _all_compiled(shape(stored, bias, forms.fastest())):
        return forms.fastest()
    form = WIDE if narrow else STORED
    numbers = shape(stored, bias, form)
    if trial and not is_depthwise(numbers) and not _all_compiled(numbers):
        raise Untraceable("a convolution for which oneDNN has no compiled loops")
    return form


def expansion(stored):
    """Returns the Expansion of a convolution's weights, or None where it runs as it is, as all in bfloat16 do."""
    source, groups, lanes = stored.sources[0].stored, stored.numbers["groups"], native.lanes()
    if stored.dtype == BFLOAT16:
        return None
    count = merged(groups, source.channels, stored.channels, lanes)
    if count > 1:
        return Expansion(groups, source.channels, count, source.channels)
    few = groups == 1 and source.layout != PLAIN and source.channels < lanes
    if few and not _all_compiled(_shape(stored, 0, STORED)):
        return Expansion(groups, source.channels, 1, lanes)
    return None


def _all_compiled(numbers):
    """False if oneDNN has nothing, or nothing but its reference loops, for a convolution or its gradients."""
    directions = [native.FORWARD]
    if not numbers["plain_source"]:
        directions.append(native.INPUT_GRADIENT)
    return all(compiled(direction, numbers) for direction in directions) and (
        own_loops(native.WEIGHT_GRADIENT, numbers) or compiled(native.WEIGHT_GRADIENT, framed(numbers)[0])
    )


def own_loops(direction, numbers):
    """True if a direction of a convolution is our own operation's, and not oneDNN's."""
    return is_depthwise(numbers) and not compiled(direction, numbers)


def framed(numbers):
    """Returns the numbers of a convolution as its weight gradient is run, and those of the operation `frame` that
    brings its images there; nothing where they stay as they are.

    With AVX2 oneDNN has loops for weight gradients only where the image is no smaller than the window: 3x3 on 2x2
    pixels, 256 channels, batch 32, took 8 s in a step of GENet. Zeros round the image make it as large.
    """
    plain = numbers["plain_source"] or numbers["bfloat16"]
    if plain or compiled(native.WEIGHT_GRADIENT, numbers):
        return numbers, {}
    extents = {
        axis: (numbers[f"out_{axis}"] - 1) * numbers[f"stride_{axis}"]
        + (numbers[f"kernel_{axis}"] - 1) * numbers[f"dilation_{axis}"]
        + 1
        for axis in ("height", "width")
    }
    larger = {**numbers, **extents, "top": 0, "left": 0}
    if not compiled(native.WEIGHT_GRADIENT, larger):
        return numbers, {}
    frame = {name: numbers[name] for name in ("height", "width", "top", "left")}
    return larger, {**frame, **{f"framed_{axis}": extent for axis, extent in extents.items()}}


def compiled(direction, numbers):
    """True if oneDNN has compiled loops for a direction of a convolution."""
    return _named_compiled(direction, tuple(numbers.items()))


@functools.lru_cache(maxsize=4096)
def _named_compiled(direction, numbers):
    numbers = dict(numbers)
    if direction == native.INPUT_GRADIENT:
        numbers["bias"] = 0
    try:
        return "ref" not in native.implementation(direction, numbers)
    except RuntimeError:
        return False
