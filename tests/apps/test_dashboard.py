"""The dashboard says what is going on, on any width."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from apps.cli.dashboard import render
from tests.apps.controls.held import Held

FIGURES = {
    "fps_in": 30.0, "fps_out": 24.2, "latency_p50": 0.05, "latency_p95": 0.09, "model_p50": 0.031, "seconds": 9.0,
    "limited_by": "model",
    "source": {"name": "camera 0", "state": "lost", "read": 100, "reopened": 1},
    "model": {"frames_in": 100, "frames_out": 90, "dropped_in": 6, "dropped_out": 1, "skipped": 3, "failed": 0},
    "sinks": [{"name": "window", "state": "running", "delivered": 90, "overtaken": 0, "lost": 0, "reopened": 0,
               "fps": 24.0, "latency_p50": 0.05, "latency_p95": None}],
}  # fmt: skip


class Shown(Held):
    def figures(self) -> dict[str, Any]:
        return FIGURES

    def messages(self) -> list[str]:
        return [f"line {i} [red]" for i in range(20)]


@pytest.mark.parametrize("width", [30, 80, 140])
def test_dashboard(width: int) -> None:
    out = io.StringIO()
    Console(file=out, width=width).print(render(Shown(), "camera -> window"))
    text = out.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    if width == 140:
        for part in ("24.2 of 30.0", "limited by the model", "31 ms", "7 overtaken", "camera 0: lost", "p95 unknown",
                     "strength 0.5, 1 step, seed 0", "line 19 [red]", "q quit"):  # fmt: skip
            assert part in text, part
        assert "line 13" not in text
