"""Dropout whose masks are known: by the hash of a word and of each number's place."""

import numpy as np
import numpy_tape as tape
from fuzz.layers.kind import Kind


def hashed(words):
    """Wellons' lowbias32 of uint32 numbers."""
    words = np.asarray(words, np.uint32)
    with np.errstate(over="ignore"):
        words = (words ^ words >> 16) * np.uint32(0x7FEB352D)
        words = (words ^ words >> 15) * np.uint32(0x846CA68B)
    return words ^ words >> 16


def kept(shape, p, word):
    """True where a dropout with this word keeps a number of a tensor."""
    with np.errstate(over="ignore"):
        places = np.arange(np.prod(shape), dtype=np.uint32) + hashed(np.int32(word).view(np.uint32))
    return ((hashed(places) & 0xFFFFFF) >= round(p * 2**24)).reshape(shape)


class Dropout(Kind):
    def cell(self, step, shapes):
        return f"dropout({step.p}, {step.word})"

    def compute(self, step, inputs, run):
        x = inputs[0]
        if not run.training:
            return x
        slope = kept(x.value.shape, step.p, step.word) * x.value.dtype.type(1 / (1 - step.p))
        return tape.elementwise(x, x.value * slope, slope)
