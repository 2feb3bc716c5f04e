"""Numbers for people: digits by the standard error, never an exponent, nouns in the plural."""

import math
import random
from decimal import Decimal

import pytest

from smallwm_tf.experiment.numbers import (
    counted,
    decimals,
    percent,
    published,
    rounded,
    short,
    with_error,
)


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [
        (0.9375, 0.0625, "0.94 ± 0.06"),
        (0.8125, 0.1047, "0.81 ± 0.10"),
        (25.21, 2.57, "25.2 ± 2.6"),
        (-18.94, 0.231, "-18.94 ± 0.23"),
        (11645.4, 645.0, "11,645 ± 645"),
        (0.0131, 0.0057, "0.013 ± 0.006"),
        (0.5, 0.97, "0.5 ± 1.0"),
        (-0.001, 0.5, "0.0 ± 0.5"),
        (1.0, 0.0, "1.00"),
        (319.0, None, "319"),
        (1.0, math.nan, "1.00"),
    ],
)
def test_a_mean_has_the_digits_that_its_standard_error_deserves(mean, error, text):
    assert with_error(mean, error) == text


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (-3.9, "-3.9"),
        (7.6, "7.6"),
        (227.8, "228"),
        (0.0, "0.0"),
        (36923.8, "36,924"),
        (11.8, "11.8"),
    ],
)
def test_published_figures_get_no_digits_that_were_not_published(figure, text):
    assert published(figure) == text


def test_an_error_keeps_one_or_two_digits_of_its_own():
    """By decimal arithmetic: two if these are at most 35, else one, none before the point."""
    chance = random.Random(0)
    for _ in range(2000):
        error = 10 ** chance.uniform(-3.9, 4)
        exponent = Decimal(error).adjusted()
        two = int(round(Decimal(error).scaleb(1 - exponent)))
        wanted = max(0, (1 if two <= 35 else 0) - exponent)
        is_between = abs(Decimal(error).scaleb(-exponent) - Decimal("3.545")) < Decimal("0.01")
        assert decimals(error) == wanted or is_between


def test_what_was_not_measured_is_a_dash():
    assert percent(math.nan) == percent(None) == rounded(math.nan) == "–"
    assert percent(0.414) == "41 %" and percent(0.4147, 1) == "41.5 %"


def test_measurements_have_four_digits_and_no_exponent():
    chance = random.Random(1)
    for _ in range(2000):
        value = chance.choice((-1, 1)) * 10 ** chance.uniform(-3, 12)
        text = short(value)
        assert "e" not in text
        assert float(text.replace(",", "")) == pytest.approx(value, rel=6e-4)
    assert [short(x) for x in (1989.4, 0.0, 12.3456, -0.5, 1e-12)] == [
        "1,989", "0", "12.35", "-0.5", "0",
    ]  # fmt: skip


def test_nouns_are_counted():
    assert [counted(n, "core") for n in (0, 1, 2)] == ["0 cores", "1 core", "2 cores"]
    assert counted(12800, "stacked frame") == "12,800 stacked frames"
    assert counted(2, "entry") == "2 entries" and counted(2, "day") == "2 days"
