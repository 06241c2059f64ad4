"""Backoff: how long to wait before what was lost is tried again."""

from __future__ import annotations

import threading

FIRST, LONGEST = 0.25, 8.0
"""Seconds; each failure in a row doubles the wait."""


class Backoff:
    """Waits that grow while nothing succeeds."""

    def __init__(self, first: float = FIRST, longest: float = LONGEST) -> None:
        self._first, self._longest = first, longest
        self._next = first

    def succeeded(self) -> None:
        """It works: the next wait is the shortest."""
        self._next = self._first

    def grown(self) -> float:
        """Seconds of the next wait, which counts as a failure."""
        wait, self._next = self._next, min(self._longest, self._next * 2)
        return wait

    def wait(self, stopped: threading.Event) -> bool:
        """Wait; False when stopped meanwhile."""
        return not stopped.wait(self.grown())
