"""Learning-rate schedules: pure functions from the step, or the epoch, counted from 0, to the rate.

`step` and `epoch` are whole numbers or arrays of them; the result has their shape, float64.
"""

import numpy as np


def linear(step, steps, begin, end):
    """Returns the straight line from `begin` at step 0 to `end` at step `steps`.

    >>> T = 150 * 625
    >>> [float(linear(i, T, 0.8, 0.0)) for i in (0, 46875)]
    [0.8, 0.4]
    >>> float(round(linear(T - 1, T, 0.8, 0.0), 8))
    8.53e-06
    >>> [float(round(linear(i, 5 * 781, 0.01, 0.1), 7)) for i in (0, 3904)]
    [0.01, 0.099977]
    >>> [float(linear(i + 1, 4, 0.0, 0.1)) for i in range(4)]
    [0.025, 0.05, 0.07500000000000001, 0.1]
    """
    return begin + (end - begin) * np.asarray(step) / steps


def exponential(epoch, lr, epochs, gamma):
    """Returns `lr` times `gamma` for every epoch of `epochs` that has begun.

    >>> [float(round(exponential(e, 0.1, (70, 140, 210, 280), 0.3), 8)) for e in (0, 69, 70, 140, 210, 280, 499)]
    [0.1, 0.1, 0.03, 0.009, 0.0027, 0.00081, 0.00081]
    """
    return lr * float(gamma) ** np.searchsorted(np.asarray(epochs), epoch, side="right")


def cosine(step, steps, begin, end):
    """Returns the cosine from `begin` at step 0 to `end` at step `steps`, beyond which it rises again.

    >>> [float(round(cosine(i, 100, 0.1, 0.0), 7)) for i in (0, 25, 50, 100)]
    [0.1, 0.0853553, 0.05, 0.0]
    >>> float(round(cosine(119, 120, 0.1, 0.0), 8))
    1.713e-05
    >>> [float(round(cosine(epoch, 150, 0.01, 0.0), 9)) for epoch in (0, 1, 75, 149)]
    [0.01, 0.009998903, 0.005, 1.097e-06]
    """
    return end + (begin - end) * (1 + np.cos(np.pi * np.asarray(step) / steps)) / 2


def linear_cosine(step, steps, lr):
    """Returns `lr` times (line from 1 to 0 times a cosine of 0.47 periods, plus 1e-5).

    Bello et al., 2017, "Neural Optimizer Search with Reinforcement Learning", arXiv:1709.07417.

    >>> T = 220 * 625
    >>> [float(round(linear_cosine(i, T, 0.8), 7)) for i in (0, 68750)]
    [0.800008, 0.2188297]
    >>> float(round(linear_cosine(T - 1, T, 0.8), 10))
    8.0515e-06
    """
    done = np.asarray(step) / steps
    return lr * ((1 - done) * (1 + np.cos(2 * np.pi * 0.47 * done)) / 2 + 1e-5)


def quadratic(step, steps, lr):
    """Returns `lr` (1 - step / steps)^2. The zoo calls this schedule "step".

    >>> W, T = 5 * 781, 70 * 781
    >>> [float(round(quadratic(i - W, T - W, 0.1), 7)) for i in (3905, 27335)]
    [0.1, 0.0289941]
    >>> float(round(quadratic(T - 1 - W, T - W, 0.1), 12))
    3.9e-11
    """
    return lr * (1 - np.asarray(step) / steps) ** 2
