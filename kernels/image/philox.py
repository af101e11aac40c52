"""Counter-based random numbers: what is drawn depends on (seed, epoch, sample, block) and on nothing that
happened before.
"""

import numba
import numpy as np

_MUL0, _MUL1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL0, _WEYL1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)

ORDER_SAMPLE = -1
"""The sample number under which an epoch's order is drawn; real samples count from 0."""


@numba.njit(cache=True, nogil=True)
def philox4(seed, epoch, sample, block):
    """Four uint32 (as uint64) of Philox4x32-10 at counter (block, sample low, sample high, epoch) under the
    64-bit key `seed`.

    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    key, number = np.uint64(seed), np.uint64(sample)
    c0, c1 = np.uint64(block) & _LOW, number & _LOW
    c2, c3 = number >> _HALF, np.uint64(epoch) & _LOW
    k0, k1 = key & _LOW, key >> _HALF
    for _ in range(10):
        p0, p1 = _MUL0 * c0, _MUL1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _WEYL0) & _LOW, (k1 + _WEYL1) & _LOW
    return c0, c1, c2, c3


@numba.njit(cache=True, nogil=True)
def uniform(word):
    """Float64 in [0, 1) from one word of `philox4`."""
    return np.float64(word) * 2.0**-32


@numba.njit(cache=True, nogil=True)
def below(word, n):
    """Integer in [0, n) from one word of `philox4` by multiplication (bias under n / 2**32)."""
    return np.int64((np.uint64(word) * np.uint64(n)) >> _HALF)


@numba.njit(cache=True, nogil=True)
def permutation(n, seed, epoch):
    """Int64 permutation of range(n) for one epoch (Fisher-Yates; 1.28 million entries take some 20 ms)."""
    order = np.arange(n)
    for i in range(n - 1, 0, -1):
        w0, _, _, _ = philox4(seed, epoch, ORDER_SAMPLE, i)
        j = below(w0, i + 1)
        order[i], order[j] = order[j], order[i]
    return order
