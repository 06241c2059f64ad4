"""Metrics: right within their stated precision, in constant memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamdiff.metrics import Histogram, Metrics, Rate


@given(values=st.lists(st.floats(1e-5, 100), min_size=1, max_size=200), percent=st.sampled_from([0, 5, 50, 95, 100]))
def test_percentiles_are_exact_to_the_width_of_a_bucket(values: list[float], percent: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = float(np.percentile(values, percent, method="inverted_cdf"))
    assert histogram.percentile(percent) == pytest.approx(exact, rel=0.0131)
    assert histogram.mean == pytest.approx(float(np.mean(values)))
    assert histogram.largest == max(values)


def test_odd_durations() -> None:
    histogram = Histogram()
    assert math.isnan(histogram.percentile(50)) and math.isnan(histogram.mean)
    for value in (-1.0, 0.0, 1e9):
        histogram.add(value)
    assert histogram.count == 3
    assert histogram.percentile(0) < 2e-5


def test_rate_follows_and_falls_to_nothing() -> None:
    rate = Rate()
    assert rate.per_second() == 0
    for i in range(300):
        rate.tick(i / 30)
    assert rate.per_second(10.0) == pytest.approx(30, rel=0.02)
    for i in range(150):
        rate.tick(10 + i / 15)
    assert rate.per_second(20.0) == pytest.approx(15, rel=0.05)
    assert rate.per_second(120.0) < 0.011


def test_snapshot_has_plain_numbers() -> None:
    assert all(isinstance(value, int | float) for value in Metrics().snapshot().values())


@given(st.lists(st.floats(1e-4, 100.0), max_size=60), st.floats(1e-3, 10.0))
def test_at_most_counts_to_the_width_of_a_bucket(values: list[float], bound: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    assert sum(v < bound / 1.03 for v in values) <= histogram.at_most(bound) <= sum(v < bound * 1.03 for v in values)
