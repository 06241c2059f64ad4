"""A video file as a live source: in real time or as fast as it is taken, once or again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from apps.media.video_reader import open_container
from apps.sources.decoded import Decoded
from apps.sources.source import Sound
from streamdiff.frame import Frame

BEHIND = 1.0
"""Seconds by which playing may fall behind (a laptop that slept) before it goes on from where it is."""


class FileSource:
    """Plays a video file; see ``Source``."""

    def __init__(self, path: Path, *, loop: bool = False, paced: bool = True) -> None:
        """Open the file.

        Args:
            path: a video.
            loop: begin again at its end; times go on rising.
            paced: give every piece at its own time; else as fast as it is taken.

        Raises:
            MediaError: it is no video, or damaged.
        """
        self.name = path.name
        self.waits = not paced
        self._path, self._loop = path, loop
        self._closed = threading.Event()
        self._container = open_container(path)
        try:
            decoded = Decoded(self._container, str(path))
        except BaseException:
            self._container.close()
            raise
        self.width, self.height, self.rate, self.has_sound = (
            decoded.width,
            decoded.height,
            decoded.rate,
            decoded.has_sound,
        )
        self._pieces = self._play(decoded)
        self._zero: float | None = None

    def read(self) -> Frame | Sound | None:
        """See ``Source``."""
        piece = None if self._closed.is_set() else next(self._pieces, None)
        if piece is None or self.waits:
            return piece
        if piece.pts is not None:
            now = time.monotonic()
            if self._zero is None or now - (self._zero + piece.pts) > BEHIND:
                self._zero = now - piece.pts
            if self._closed.wait(max(0.0, self._zero + piece.pts - now)):
                return None
        return piece if isinstance(piece, Sound) else replace(piece, captured=time.monotonic())

    def close(self) -> None:
        """See ``Source``; the file itself is closed by the next read's end, or here when nobody reads."""
        if not self._closed.is_set():
            self._closed.set()
            self._pieces.close() if not self._pieces.gi_running else None  # type: ignore[attr-defined]

    def _play(self, decoded: Decoded) -> Iterator[Frame | Sound]:
        begin = 0.0
        try:
            while True:
                end = begin
                for piece in decoded.pieces():
                    if self._closed.is_set():
                        return
                    pts = begin if piece.pts is None else begin + piece.pts
                    lasts = piece.seconds if isinstance(piece, Sound) else 1 / (self.rate or 25)
                    end = max(end, pts + lasts)
                    yield replace(piece, pts=pts)
                if not self._loop or end <= begin:
                    return
                begin = end
                self._container.close()
                self._container = open_container(self._path)
                decoded = Decoded(self._container, str(self._path))
        finally:
            self._container.close()
