"""a = b + s c over long arrays: how fast this machine's memory is (McCalpin, STREAM)."""

from numba import njit


@njit(nogil=True, fastmath=True, cache=True)
def triad(a, b, c, s):
    """Writes b + s c to a; float32 arrays of one length. It moves 12 bytes a number, as STREAM counts."""
    for k in range(a.size):
        a[k] = b[k] + s * c[k]
