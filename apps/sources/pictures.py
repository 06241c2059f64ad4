"""A picture, or a folder of them, as a source: a slide show in file name order."""

from __future__ import annotations

import time
from pathlib import Path

from apps.media.pictures import open_picture
from apps.sources.pacer import Pacer
from streamdiff.errors import MediaError
from streamdiff.frame import Frame, Pixels

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".jp2", ".avif"})
"""What counts as a picture in a folder; GIFs are films."""


class Slides:
    """Shows each picture for a while, at a steady rate, again and again unless told to end; see ``Source``.

    A folder is looked through again at its end: pictures that were added are shown, too.
    """

    has_sound = False
    waits = False

    def __init__(self, path: Path, *, seconds: float = 5.0, rate: float = 30.0, loop: bool = True) -> None:
        """Look what is there.

        Args:
            path: a picture or a folder.
            seconds: how long each is shown.
            rate: pictures per second that are given.
            loop: begin again at the end.

        Raises:
            MediaError: no picture is there, or the first cannot be read.
        """
        self.name, self._path, self._loop = path.name or str(path), path, loop
        self._each = max(1, round(seconds * rate))
        self._left: list[Path] = self._files()
        self._error: MediaError | None = None
        self.rate: float | None = rate
        self._count = 0
        first = self._next()
        if first is None:
            raise self._error or MediaError(f"{path}: no pictures are in this folder")
        self._picture = first
        self.height, self.width = first.shape[:2]
        self._pacer = Pacer(rate)

    def read(self) -> Frame | None:
        """See ``Source``. A picture that cannot be read is passed over."""
        if not self._pacer.wait():
            return None
        if self._count and self._count % self._each == 0:
            picture = self._next()
            if picture is None and not self._loop:
                return None
            if picture is None:
                self._left = self._files()
                picture = self._next()
            self._picture = self._picture if picture is None else picture
            self.height, self.width = self._picture.shape[:2]
        assert self.rate is not None
        frame = Frame(self._picture, pts=self._count / self.rate, captured=time.monotonic())
        self._count += 1
        return frame

    def close(self) -> None:
        """See ``Source``."""
        self._pacer.stop()

    def _files(self) -> list[Path]:
        if not self._path.is_dir():
            return [self._path]
        return sorted(p for p in self._path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())

    def _next(self) -> Pixels | None:
        """The next that can be read; None where none is left."""
        while self._left:
            self._error = None
            path = self._left.pop(0)
            try:
                reader = open_picture(path)
                if reader is None:
                    raise MediaError(f"{path}: is not a picture")
                with reader:
                    return next(iter(reader)).pixels
            except MediaError as error:
                self._error = error
        return None
