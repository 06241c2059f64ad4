"""A run that only keeps what it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from apps.run_config import RunConfig


class Held:
    def __init__(self) -> None:
        self.config = RunConfig(prompt="b")
        self.stopped = 0
        self.changes: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def update(self, settings: Mapping[str, Any]) -> RunConfig:
        with self._lock:
            self.config = self.config.changed(**settings)
            self.changes.append(dict(settings))
        return self.config

    def figures(self) -> dict[str, Any]:
        return {"fps_out": 24.0}

    def messages(self) -> list[str]:
        return ["a thing happened"]

    def stop(self) -> None:
        self.stopped += 1


def soon(happened: Callable[[], bool], seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while not happened() and time.monotonic() < until:
        time.sleep(0.01)
    return happened()
