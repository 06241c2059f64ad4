"""Clock: one rising time for the pieces of a source that may be lost and opened again."""

from __future__ import annotations

import math

JUMP = 5.0
"""Seconds by which a source's own clock may jump before it counts as begun again."""

OVERLAP = 0.02
"""Seconds by which a piece of sound may begin before the end of the one before it, by rounding."""


class Clock:
    """Places what a source gives on the run's own clock, which begins at 0 and never goes back."""

    def __init__(self, started: float) -> None:
        """Begin.

        Args:
            started: ``time.monotonic()`` seconds that are 0.
        """
        self._started = started
        self._offset: float | None = None
        self._heard = -math.inf
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
        ahead = 0.0 if self._offset is None or self.last == -math.inf else own + self._offset - self.last
        # A picture that is held for long is a jump only where time passes by itself.
        if self._offset is None or ahead < -JUMP or (ahead > JUMP and not waits):
            follows = self.last + shown if self.last > -math.inf else 0.0
            self._offset = (follows if waits else max(follows, captured - self._started)) - own
        self.last = max(own + self._offset, self.last + 0.001)
        return self.last

    def sound(self, pts: float, seconds: float, now: float) -> float | None:
        """The time of a piece of sound that lasts some seconds, in step with the pictures.

        Returns:
            None for a piece that has no place: the source's clock has jumped, and no picture has said yet where to; or
            it would begin before the one before it ends.
        """
        if self._offset is None:
            base = max(self.last, 0.0) if self.last > -math.inf else 0.0
            self._offset = max(base, 0.0 if base == 0.0 else now - self._started) - pts
        placed = pts + self._offset
        known = max(self.last, self._heard)
        if placed < self._heard - OVERLAP or (known > -math.inf and placed - known > JUMP):
            return None
        self._heard = max(self._heard, placed + seconds)
        return placed
