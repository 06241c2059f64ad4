"""A video file as a live source: in real time or as fast as it is taken, once or again and again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from apps.media.joined import Joined
from apps.media.video_reader import VideoReader, open_container
from apps.sources.decoded import Decoded
from apps.sources.paced import Paced
from apps.sources.source import Sound
from streamdiff.frame import Frame


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
        with VideoReader(path) as reader:  # only a picture tells how it stands
            upright = reader.width, reader.height
        self._container = open_container(path)
        try:
            decoded = Decoded(self._container, str(path))
        except BaseException:
            self._container.close()
            raise
        self.width, self.height = upright
        self.rate, self.has_sound = decoded.rate, decoded.has_sound
        self._pieces = self._play(decoded)
        self._paced = Paced(self._pieces, self._closed)

    def read(self) -> Frame | Sound | None:
        """See ``Source``."""
        if self._closed.is_set():
            return None
        return next(self._pieces, None) if self.waits else self._paced.read()

    def close(self) -> None:
        """See ``Source``; the file itself is closed by the next read's end, or here when nobody reads."""
        if not self._closed.is_set():
            self._closed.set()
            self._pieces.close() if not self._pieces.gi_running else None  # type: ignore[attr-defined]

    def _play(self, decoded: Decoded) -> Iterator[Frame | Sound]:
        begin = 0.0
        try:
            while True:
                end, joined = begin, Joined()
                tracks = {Frame: joined.track(), Sound: joined.track()}
                for piece in decoded.pieces():
                    if self._closed.is_set():
                        return
                    lasts = piece.seconds if isinstance(piece, Sound) else 1 / (self.rate or 25)
                    pts = begin if piece.pts is None else begin + tracks[type(piece)].place(piece.pts, lasts)
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
