"""Clock: one rising time for the pieces of a source that may be lost and opened again."""

from __future__ import annotations

import math

JUMP = 5.0
"""Seconds by which a source's own clock may jump before it counts as begun again."""


class Clock:
    """Places what a source gives on the run's own clock, which begins at 0 and never goes back."""

    def __init__(self, started: float) -> None:
        """Begin.

        Args:
            started: ``time.monotonic()`` seconds that are 0.
        """
        self._started = started
        self._offset: float | None = None
        self.last = -math.inf

    def begin(self) -> None:
        """The source was opened again: its clock has another zero."""
        self._offset = None

    def picture(self, pts: float | None, captured: float, waits: bool, shown: float) -> float:
        """The time of a picture, later than that of the one before.

        Args:
            pts: on the source's clock, seconds; None where it has none.
            captured: ``time.monotonic()`` seconds.
            waits: the source has no pace of its own, and what follows a gap follows at once.
            shown: seconds a picture lasts.
        """
        own = captured - self._started if pts is None else pts
        if self._offset is None or (abs(own + self._offset - self.last) > JUMP and self.last > -math.inf):
            follows = self.last + shown if self.last > -math.inf else 0.0
            self._offset = (follows if waits else max(follows, captured - self._started)) - own
        self.last = max(own + self._offset, self.last + 0.001)
        return self.last

    def sound(self, pts: float, now: float) -> float:
        """The time of a piece of sound, in step with the pictures."""
        if self._offset is None:
            base = max(self.last, 0.0) if self.last > -math.inf else 0.0
            self._offset = max(base, 0.0 if base == 0.0 else now - self._started) - pts
        return pts + self._offset
