"""Times of recordings that were joined end to end: where their clock goes back, they go on from where they were."""

from __future__ import annotations

BACK = 1.0
"""Seconds by which a clock must go back to count as another recording's: less is an untidy file's own."""


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
    """One track of a file, read in its order."""

    def __init__(self, joined: Joined) -> None:
        self._joined = joined
        self._part = 0
        self._end: float | None = None  # of what has been read, on the file's own clock of this part

    @property
    def offset(self) -> float:
        """Seconds that are added to its times in the present part."""
        return self._joined.parts[self._part]

    def leaps(self, time: float) -> bool:
        """Whether a piece at this time begins another recording."""
        return self._end is not None and time < self._end - BACK

    def is_ahead(self, time: float) -> bool:
        """Whether it begins one that no other track has come to yet, so that its place is not known."""
        return self.leaps(time) and self._part + 1 == len(self._joined.parts)

    def place(self, time: float, lasts: float) -> float:
        """Where a piece belongs.

        Args:
            time: on the file's own clock, seconds.
            lasts: seconds.

        Returns:
            Seconds from the beginning of the first recording.
        """
        parts = self._joined.parts
        if self._end is not None and self.leaps(time):
            if self._part + 1 == len(parts):
                parts.append(parts[self._part] + self._end - time)
            self._part += 1
            self._end = None
        self._end = time + lasts if self._end is None else max(self._end, time + lasts)
        return time + self.offset
