"""Pacer: an even rate for sources that have none of their own."""

from __future__ import annotations

import threading
import time


class Pacer:
    """Waits until the next picture is due; what was missed is not made up for."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._due: float | None = None
        self._stopped = threading.Event()

    def wait(self) -> bool:
        """Wait; False when stopped meanwhile."""
        now = time.monotonic()
        self._due = now if self._due is None else max(self._due + self._interval, now - self._interval)
        return not self._stopped.wait(max(0.0, self._due - now))

    def stop(self) -> None:
        """End a wait, and all later ones."""
        self._stopped.set()
