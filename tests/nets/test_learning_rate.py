"""The schedules' check values (their doctests) and the learning rates of whole recipes."""

import dataclasses
import doctest

import numpy as np
import pytest

from cellwright.nets import learning_rate, recipe_for


def test_the_published_values():
    result = doctest.testmod(learning_rate)
    assert result.attempted > 12 and not result.failed


@pytest.mark.parametrize(
    "recipe, steps, expected",
    [
        (
            recipe_for("densenet121"),
            5004,
            {0: 0.1, 30 * 5004: 0.0853553, 60 * 5004 + 5003: 0.05, -1: 1.713e-5},
        ),
        (recipe_for("tinydarknet"), 1251, {0: 0.1, 70 * 1251 - 1: 0.1, 70 * 1251: 0.03, -1: 0.00081}),
        (recipe_for("genet"), 625, {0: 0.8, 46875: 0.4, -1: 8.53e-6}),
        (recipe_for("genet", extra=False, mlp=False), 625, {0: 0.800008, 68750: 0.2188297, -1: 8.0515e-6}),
        (
            recipe_for("vgg16", "cifar10"),
            781,
            {0: 0.01, 3904: 0.099977, 3905: 0.1, 27335: 0.0289941, -1: 3.9e-11},
        ),
        (recipe_for("vgg16"), 5004, {0: 0.01, 5004: 0.009998903, 75 * 5004: 0.005, -1: 1.097e-6}),
    ],
)
def test_learning_rates_of_the_recipes(recipe, steps, expected):
    rates = recipe.learning_rates(steps)
    assert rates.dtype == np.float32 and rates.shape == (recipe.epochs * steps,)
    for step, rate in expected.items():
        assert rates[step] == pytest.approx(rate, rel=1e-3 if step == -1 else 1e-6)


@pytest.mark.parametrize("name", ["exponential", "cosine_annealing", "cosine", "linear", "linear_cosine", "quadratic"])
def test_every_schedule_rises_holds_and_falls(name):
    recipe = dataclasses.replace(
        recipe_for("densenet121"),
        lr_scheduler=name,
        lr=0.4,
        epochs=10,
        warmup_epochs=2,
        hold_epochs=1,
        warmup_lr=0.1,
        lr_epochs=(5, 8),
    )
    rates = recipe.learning_rates(7)
    assert rates.shape == (70,) and np.all(np.diff(rates[:14]) > 0)
    assert rates[14:21] == pytest.approx(0.4)
    assert np.all(np.diff(rates[21:]) <= 0) and rates[-1] < 0.05
    first_epochwise = 0.1 + 0.3 / 14
    assert rates[0] == pytest.approx(first_epochwise if name in ("exponential", "cosine_annealing") else 0.1)


def test_cosine_follows_the_epochs_unless_told_otherwise():
    short = dataclasses.replace(recipe_for("densenet121"), epochs=4)
    assert short.learning_rates(1)[2] == pytest.approx(0.05)
    assert dataclasses.replace(short, t_max=8).learning_rates(1)[2] == pytest.approx(0.0853553, rel=1e-6)
