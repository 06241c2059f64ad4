"""A sink that throws away: for measuring."""

from __future__ import annotations

from apps.sinks.sink import Picture
from apps.sources.source import Sound
from streamdiff.frame import Frame


class Null:
    """Takes everything; see ``Sink``."""

    name = "null"

    def __init__(self, picture: Picture) -> None:
        self.width, self.height, self.takes_sound = picture.width, picture.height, picture.has_sound

    def write(self, frame: Frame) -> None:
        """See ``Sink``."""

    def write_sound(self, sound: Sound) -> None:
        """See ``Sink``."""

    def close(self) -> None:
        """See ``Sink``."""
