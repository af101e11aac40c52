"""The parts of a JPEG decoder that work on whole vectors, written as LLVM's: inverse transform, chroma, colours.

Each gives the bits of libjpeg-turbo's vector code (its accurate transform and its smooth upsampling). As loops they
would be of 64-bit integers, to which numba widens every sum, at a quarter of the speed.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

LANES = 16
"""Blocks that are transformed at once, and pixels that are converted at once."""

_I8, _I16, _I32 = (ir.VectorType(ir.IntType(bits), LANES) for bits in (8, 16, 32))
_BITS, _PASS1_BITS = 13, 2


def _splat(kind, value):
    return ir.Constant(kind, [value] * LANES)


def _pointer(context, builder, signature, arguments, k, index, kind):
    """The address of element `index` of array argument k, as a pointer to `kind`."""
    view = context.make_array(signature.args[k])(context, builder, arguments[k])
    return builder.bitcast(builder.gep(view.data, [index]), kind.as_pointer())


def _load(builder, pointer, align=1):
    return builder.load(pointer, align=align)


def _clamp(builder, value, low, high):
    kind = value.type
    low, high = _splat(kind, low), _splat(kind, high)
    value = builder.select(builder.icmp_signed("<", value, low), low, value)
    return builder.select(builder.icmp_signed(">", value, high), high, value)


def _transform(b, x, shift):
    """Eight i16 vectors -> eight i32 vectors, one pass of the inverse transform (Loeffler, Ligtenberg and Moschytz,
    1989), descaled by `shift`. Sums of two inputs wrap at 16 bits, as in libjpeg-turbo's vectors.
    """

    def wide(value):
        return b.sext(value, _I32)

    def times(value, factor):
        return b.mul(value, _splat(_I32, factor))

    def pair(p, u, q, v):
        return b.add(times(p, u), times(q, v))

    x2, x6 = wide(x[2]), wide(x[6])
    tmp3, tmp2 = pair(x2, 4433 + 6270, x6, 4433), pair(x2, 4433, x6, 4433 - 15137)
    tmp0 = b.shl(wide(b.add(x[0], x[4])), _splat(_I32, _BITS))
    tmp1 = b.shl(wide(b.sub(x[0], x[4])), _splat(_I32, _BITS))
    even = b.add(tmp0, tmp3), b.add(tmp1, tmp2), b.sub(tmp1, tmp2), b.sub(tmp0, tmp3)
    z3, z4 = wide(b.add(x[7], x[3])), wide(b.add(x[5], x[1]))
    z3, z4 = pair(z3, 9633 - 16069, z4, 9633), pair(z3, 9633, z4, 9633 - 3196)
    x7, x5, x3, x1 = (wide(x[k]) for k in (7, 5, 3, 1))
    odd = (
        b.add(pair(x7, -7373, x1, 12299 - 7373), z4),
        b.add(pair(x5, -20995, x3, 25172 - 20995), z3),
        b.add(pair(x5, 16819 - 20995, x3, -20995), z4),
        b.add(pair(x7, 2446 - 7373, x1, -7373), z3),
    )
    half = _splat(_I32, 1 << (shift - 1))
    sums = [b.add(even[k], odd[k]) for k in range(4)] + [b.sub(even[k], odd[k]) for k in (3, 2, 1, 0)]
    return [b.ashr(b.add(s, half), _splat(_I32, shift)) for s in sums]


@intrinsic
def inverse_transform(typing_context, coefficients, at, quantisers, plane, to, stride):
    """Transforms 16 blocks: int16 `coefficients` [at + 16 * k + block] times int16 `quantisers` [k], k by row and
    column, to uint8 `plane` [to + stride * row + 8 * block + column].
    """

    def generate(context, b, signature, arguments):
        at, to, stride = arguments[1], arguments[4], arguments[5]
        source = _pointer(context, b, signature, arguments, 0, at, _I16)
        scale = _pointer(context, b, signature, arguments, 2, ir.Constant(ir.IntType(64), 0), ir.IntType(16))

        def at_index(pointer, k):
            return b.gep(pointer, [ir.Constant(ir.IntType(64), k)])

        def spread(k):
            one = b.insert_element(ir.Constant(_I16, ir.Undefined), b.load(at_index(scale, k)), ir.IntType(32)(0))
            return b.shuffle_vector(one, ir.Constant(_I16, ir.Undefined), ir.Constant(_I32, [0] * LANES))

        work = [None] * 64
        for column in range(8):
            places = [8 * row + column for row in range(8)]
            inputs = [b.mul(_load(b, at_index(source, k), 2), spread(k)) for k in places]
            for k, value in zip(places, _transform(b, inputs, _BITS - _PASS1_BITS)):
                work[k] = b.trunc(_clamp(b, value, -32768, 32767), _I16)
        byte = ir.IntType(8).as_pointer()
        for row in range(8):
            values = _transform(b, work[8 * row : 8 * row + 8], _BITS + _PASS1_BITS + 3)
            values = [b.add(_clamp(b, value, -128, 127), _splat(_I32, 128)) for value in values]
            halves = []
            for first in (0, 4):
                word = values[first]
                for k in range(1, 4):
                    word = b.or_(word, b.shl(values[first + k], _splat(_I32, 8 * k)))
                halves.append(word)
            mask = [n for k in range(LANES) for n in (k, LANES + k)]
            both = b.shuffle_vector(*halves, ir.Constant(ir.VectorType(ir.IntType(32), 2 * LANES), mask))
            offset = b.add(to, b.mul(stride, ir.Constant(ir.IntType(64), row)))
            line = b.bitcast(_pointer(context, b, signature, arguments, 3, offset, ir.IntType(8)), byte)
            b.store(both, b.bitcast(line, both.type.as_pointer()), align=1)
        return ir.Constant(ir.IntType(64), 0)

    whole = types.int64
    return whole(coefficients, whole, quantisers, plane, whole, whole), generate


@intrinsic
def upsample_16(typing_context, near, i, far, j, tall, out, to):
    """Widens 16 samples of chroma to 32: uint8 `near` [i], and where `tall` is 1 mixed 3 : 1 with `far` [j], to uint8
    `out` [to]. Reads one sample more on both sides.
    """

    def generate(context, b, signature, arguments):
        one = ir.Constant(ir.IntType(64), 1)

        def samples(k, index):
            return b.zext(_load(b, _pointer(context, b, signature, arguments, k, index, _I8)), _I16)

        def column(shift):
            first, second = b.add(arguments[1], shift), b.add(arguments[3], shift)
            value = samples(0, first)
            mixed = b.add(b.mul(value, _splat(_I16, 3)), samples(2, second))
            return b.select(tall, mixed, value)

        tall = b.icmp_signed("==", arguments[4], one)
        before, here, behind = column(ir.Constant(ir.IntType(64), -1)), column(one.type(0)), column(one)
        here = b.mul(here, _splat(_I16, 3))
        low = b.select(tall, _splat(_I16, 8), _splat(_I16, 1))
        high = b.select(tall, _splat(_I16, 7), _splat(_I16, 2))
        shift = b.select(tall, _splat(_I16, 4), _splat(_I16, 2))
        left = b.trunc(b.lshr(b.add(b.add(here, before), low), shift), _I8)
        right = b.trunc(b.lshr(b.add(b.add(here, behind), high), shift), _I8)
        mask = [n for k in range(LANES) for n in (k, LANES + k)]
        both = b.shuffle_vector(left, right, ir.Constant(ir.VectorType(ir.IntType(32), 2 * LANES), mask))
        b.store(both, _pointer(context, b, signature, arguments, 5, arguments[6], both.type), align=1)
        return ir.Constant(ir.IntType(64), 0)

    whole = types.int64
    return whole(near, whole, far, whole, whole, out, whole), generate


@intrinsic
def colours_16(typing_context, luma, i, blue, red, j, out, to):
    """16 pixels of JFIF's YCbCr, uint8 `luma` [i], `blue` [j] and `red` [j], to RGB in uint8 `out` [to], 48 bytes."""

    def generate(context, b, signature, arguments):
        def samples(k, index, less):
            value = b.zext(_load(b, _pointer(context, b, signature, arguments, k, index, _I8)), _I32)
            return b.sub(value, _splat(_I32, less)) if less else value

        def times(value, factor):
            return b.mul(value, _splat(_I32, factor))

        def part(value):
            value = b.ashr(b.add(value, _splat(_I32, 1 << 15)), _splat(_I32, 16))
            return b.trunc(_clamp(b, b.add(y, value), 0, 255), _I8)

        y = samples(0, arguments[1], 0)
        cb, cr = samples(2, arguments[4], 128), samples(3, arguments[4], 128)
        r, g, bl = part(times(cr, 91881)), part(b.add(times(cb, -22554), times(cr, -46802))), part(times(cb, 116130))
        two = b.shuffle_vector(r, g, ir.Constant(ir.VectorType(ir.IntType(32), 32), list(range(32))))
        more = b.shuffle_vector(bl, bl, ir.Constant(ir.VectorType(ir.IntType(32), 32), list(range(32))))
        mask = [n for k in range(LANES) for n in (k, LANES + k, 2 * LANES + k)]
        pixels = b.shuffle_vector(two, more, ir.Constant(ir.VectorType(ir.IntType(32), 48), mask))
        b.store(pixels, _pointer(context, b, signature, arguments, 5, arguments[6], pixels.type), align=1)
        return ir.Constant(ir.IntType(64), 0)

    whole = types.int64
    return whole(luma, whole, blue, red, whole, out, whole), generate
