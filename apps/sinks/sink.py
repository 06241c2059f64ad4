"""Sink: what every window, virtual camera, file and address looks like to the rest of the program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from apps.sources.source import Sound
from streamdiff.frame import Frame


@dataclass(frozen=True, slots=True)
class Picture:
    """What is going to be written.

    Attributes:
        width, height: pixels, multiples of 8.
        rate: frames per second to expect.
        has_sound: Sound comes with them.
    """

    width: int
    height: int
    rate: float
    has_sound: bool = False


class Sink(Protocol):
    """An open sink, used by one thread of its own, which may be kept waiting; what comes meanwhile is overtaken.

    A sink that is lost raises DeviceError from ``write``; it is then closed and another is opened in its place.

    Attributes:
        name: for people: "window", "clip.mp4", "rtmp://host/app".
        width, height: the size it takes; pictures of another size are scaled to cover it before they come.
        takes_sound: ``write_sound`` may be called.
    """

    name: str
    width: int
    height: int
    takes_sound: bool

    def write(self, frame: Frame) -> None:
        """Take a picture; ``pts`` is set, begins near 0 and rises; ``tag`` is the source's picture of the same size.

        Raises:
            DeviceError: it is lost (unplugged, hung up, disk full), in one line that says what happened.
        """
        ...

    def write_sound(self, sound: Sound) -> None:
        """Take sound, in order, always before the first picture that is later than its beginning.

        Raises:
            DeviceError: as ``write``.
        """
        ...

    def close(self) -> None:
        """Complete what was begun and give everything back; may be called again.

        Raises:
            DeviceError: it could not be completed.
        """
        ...


OpenSink = Callable[[Picture], Sink]
"""Opens a sink, as often as it is lost.

Raises:
    DeviceError: it cannot be opened now; another try may succeed.
    MediaError, ConfigError: it never will be, with what to install or to do.
"""
