"""Times of recordings that were joined end to end: where their clock goes back, they go on from where they were."""

from __future__ import annotations

BACK = 1.0
"""Seconds by which a clock must go back to be another one: less is an untidy file's own."""

SURE = 0.5
"""Seconds for which it must go on from there to be another recording's: less is damage. (Pieces farther apart than this
tell the two apart only where the other clock stays behind.)"""


class Joined:
    """The times of one file, shared by its tracks, so that picture and sound stay together from part to part.

    Attributes:
        parts: what is added to the times of each recording in it, in seconds; the first's is 0.
    """

    def __init__(self) -> None:
        self.parts = [0.0]

    def track(self) -> Track:
        """One of its tracks."""
        return Track(self)


class Track:
    """One track of a file, read in its order. The first that comes to another recording says where that begins."""

    def __init__(self, joined: Joined) -> None:
        self._joined = joined
        self._part = 0
        # On the clock of the present part: the newest piece, and the end of all.
        self._newest: float | None = None
        self._end = 0.0
        # Where pieces on another clock began, on that, and what is added to their times until that is sure.
        self._other: float | None = None
        self._shift = 0.0

    def place(self, time: float, lasts: float) -> float:
        """Where a piece belongs.

        Args:
            time: on the file's own clock, seconds.
            lasts: seconds.

        Returns:
            Seconds from the beginning of the first recording. Rising where the file's own times rise, but for where
            damaged ones return, and for the tens of milliseconds by which picture and sound end apart.
        """
        if self._newest is not None and time < self._newest and (self._other is not None or time < self._newest - BACK):
            if self._other is None:
                self._other, self._shift = time, self._end + self._joined.parts[self._part] - time
            if time - self._other < SURE:
                return time + self._shift
            self._part += 1
            if self._part == len(self._joined.parts):
                self._joined.parts.append(self._shift)
            self._newest = None
        self._other = None
        first = self._newest is None
        self._newest = time if self._newest is None else max(self._newest, time)
        self._end = time + lasts if first else max(self._end, time + lasts)
        return time + self._joined.parts[self._part]
