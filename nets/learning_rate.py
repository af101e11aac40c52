"""Learning-rate schedules: pure functions from the step, counted from 0, to the rate.

`step` is a whole number or an array of them; the result has its shape, float64. `S` in the examples is the
number of steps of one epoch.
"""

import numpy as np


def warm_up(step, steps, start, peak, first=0):
    """Returns the rate on the straight line from `start` at step `-first` to `peak` at step `steps - first`.

    With `first=0` the first step runs at `start`; with 1 it is already one step up the line, and the last one
    runs at `peak`.

    >>> S = 781
    >>> [float(round(warm_up(i, 5 * S, 0.01, 0.1), 7)) for i in (0, 3904)]
    [0.01, 0.099977]
    >>> [float(warm_up(i, 4, 0.0, 0.1, first=1)) for i in range(4)]
    [0.025, 0.05, 0.07500000000000001, 0.1]
    """
    return start + (peak - start) * (np.asarray(step) + first) / steps


def exponential(step, steps_per_epoch, lr, epochs, gamma):
    """Returns `lr` times `gamma` for every epoch of `epochs` that has begun.

    >>> S, milestones = 1251, (70, 140, 210, 280)
    >>> [float(round(exponential(e * S, S, 0.1, milestones, 0.3), 8)) for e in (0, 70, 140, 210, 280, 499)]
    [0.1, 0.03, 0.009, 0.0027, 0.00081, 0.00081]
    >>> float(exponential(70 * 1251 - 1, 1251, 0.1, (70,), 0.3))
    0.1
    """
    begun = np.searchsorted(np.asarray(epochs), np.asarray(step) // steps_per_epoch, side="right")
    return lr * float(gamma) ** begun


def cosine_by_epoch(step, steps_per_epoch, lr, lr_end, period):
    """Returns the cosine from `lr` to `lr_end` over `period` epochs, constant within an epoch.

    Beyond the period it rises again.

    >>> S = 5004
    >>> [float(round(cosine_by_epoch(e * S, S, 0.1, 0.0, 120), 7)) for e in (0, 30, 60, 90)]
    [0.1, 0.0853553, 0.05, 0.0146447]
    >>> float(round(cosine_by_epoch(119 * S + S - 1, S, 0.1, 0.0, 120), 8))
    1.713e-05
    >>> [float(round(cosine_by_epoch(e * S, S, 0.01, 0.0, 150), 9)) for e in (0, 1, 75, 149)]
    [0.01, 0.009998903, 0.005, 1.097e-06]
    """
    epoch = np.asarray(step) // steps_per_epoch
    return lr_end + (lr - lr_end) * (1 + np.cos(np.pi * epoch / period)) / 2


def cosine_by_step(step, steps, lr, lr_end):
    """Returns the cosine from `lr` at step 0 to `lr_end` at step `steps`.

    >>> [float(round(cosine_by_step(i, 100, 0.1, 0.0), 7)) for i in (0, 25, 50, 100)]
    [0.1, 0.0853553, 0.05, 0.0]
    """
    return lr_end + (lr - lr_end) * (1 + np.cos(np.pi * np.asarray(step) / steps)) / 2


def linear(step, steps, lr, lr_end):
    """Returns the straight line from `lr` at step 0 to `lr_end` at step `steps`.

    >>> T = 150 * 625
    >>> [float(linear(i, T, 0.8, 0.0)) for i in (0, 46875)]
    [0.8, 0.4]
    >>> float(round(linear(T - 1, T, 0.8, 0.0), 8))
    8.53e-06
    """
    return lr - (lr - lr_end) * np.asarray(step) / steps


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
