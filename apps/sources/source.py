"""Source: what every camera, screen, file and address looks like to the rest of the program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamdiff.frame import Frame

SOUND_RATE = 48_000
"""Samples per second of all sound inside the program."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of sound.

    Attributes:
        samples: int16 [n, 2], left and right, at SOUND_RATE.
        pts: seconds at which it begins, on the clock of the frames of the same source.
    """

    samples: NDArray[np.int16]
    pts: float

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / SOUND_RATE


class Source(Protocol):
    """An open source. One thread reads it; ``close`` may come from another, and ends a ``read`` that waits if it can.

    A source that is lost raises DeviceError from ``read``; it is then closed and another is opened in its place.
    It reconnects nothing by itself and keeps no queue: a frame that was not asked for is gone.

    Attributes:
        name: for people: "camera 0", "clip.mp4".
        width, height: of its pictures now, in pixels.
        rate: frames per second it aims at; None where unknown.
        has_sound: ``read`` gives Sound, too.
        waits: nothing is lost when it is read later (a file that is read as fast as it is taken). False for everything
            that has a pace of its own, a file played in real time included.
    """

    name: str
    width: int
    height: int
    rate: float | None
    has_sound: bool
    waits: bool

    def read(self) -> Frame | Sound | None:
        """Wait for the next piece.

        Returns:
            A Frame of any size with ``captured`` (``time.monotonic`` seconds at which it was there) and, where the
            source has a clock, ``pts`` in seconds on it; a Sound; or None once the source has come to its end.

        Raises:
            DeviceError: it is lost (unplugged, hung up, damaged), in one line that says what happened.
        """
        ...

    def close(self) -> None:
        """Give everything back; may be called again."""
        ...


OpenSource = Callable[[], Source]
"""Opens a source, as often as it is lost.

Raises:
    DeviceError: it cannot be opened now; another try may succeed.
    MediaError, ConfigError: it never will be.
"""
