"""Paced: pieces that are there early, given each at its own time, as a live source would."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from apps.sources.source import Sound
from streamdiff.frame import Frame

BEHIND = 1.0
"""Seconds by which playing may fall behind (a laptop that slept) before it goes on from where it is."""

REST = 1.0
"""Seconds after which the last picture is given again where the next one is not yet due."""


class Paced:
    """Reads pieces on the wall clock; one thread reads."""

    def __init__(self, pieces: Iterator[Frame | Sound], closed: threading.Event, *, jump: float = math.inf) -> None:
        """Prepare.

        Args:
            pieces: in the order in which they come; their ``pts`` may go back a little, as where decoders hold back
                pictures and not sound.
            closed: set from another thread, it ends a read that waits.
            jump: seconds by which ``pts`` may go on or back before their clock counts as another: as that of a live
                sender that begins anew, and not as that of a file.
        """
        self._pieces, self._closed, self._jump = pieces, closed, jump
        self._zero: float | None = None  # time.monotonic() of pts 0
        self._newest = 0.0
        self._early: Frame | Sound | None = None
        self._shown: Frame | None = None

    def read(self) -> Frame | Sound | None:
        """The next piece, when it is due; see ``Source``."""
        piece, self._early = self._early or next(self._pieces, None), None
        if piece is None or piece.pts is None:
            return piece
        now = time.monotonic()
        if self._zero is not None and abs(piece.pts - self._newest) > self._jump:
            self._zero, self._newest = None, piece.pts
        self._newest = max(self._newest, piece.pts)
        # By the newest: a picture that comes later than its sound is not a reason for all to wait.
        if self._zero is None or now - (self._zero + self._newest) > BEHIND:
            self._zero = now - self._newest
        wait = self._zero + piece.pts - now
        if wait > REST and self._shown is not None:
            self._early = piece
            if self._closed.wait(REST):
                return None
            now = time.monotonic()
            return replace(self._shown, pts=now - self._zero, captured=now)
        if self._closed.wait(max(0.0, wait)):
            return None
        if isinstance(piece, Sound):
            return piece
        self._shown = replace(piece, captured=time.monotonic())
        return self._shown
