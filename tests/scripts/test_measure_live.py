"""The figures of a live run, from deliveries that are known."""

from __future__ import annotations

import pytest

from scripts.measure_live import WARM, measured


def test_the_beginning_does_not_count_and_growth_shows() -> None:
    kept = [(i / 20, 9.0) for i in range(int(20 * WARM) + 1)]
    kept += [(WARM + (i + 1) / 20, 0.02 if i < 100 else 0.05) for i in range(200)]
    figures = measured(kept, 2)
    assert figures["fps"] == pytest.approx(20)
    assert figures["p50_ms_by_part"] == [20.0, 50.0] and figures["p95_ms"] == 50.0
