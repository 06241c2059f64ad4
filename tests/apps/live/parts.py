"""Sources and sinks that fail when they are told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from apps.sinks.sink import Picture
from apps.sources.source import SOUND_RATE, Sound
from streamdiff.errors import DeviceError
from streamdiff.frame import Frame


class Pictures:
    """Pictures at a rate (or as fast as they are taken), with sound between them."""

    has_sound = True

    def __init__(self, faults: dict[int, str], taken: list[int], count: int, rate: float, waits: bool) -> None:
        self.name, self.width, self.height, self.rate, self.waits = "pictures", 64, 64, rate, waits
        self._faults, self._taken, self._count = faults, taken, count
        self._sound_next = False
        self._own = 0
        self.closed = threading.Event()

    def read(self) -> Frame | Sound | None:
        if self.closed.is_set() or self._taken[0] >= self._count:
            return None
        self._sound_next = not self._sound_next
        if self._sound_next:
            samples = np.full((round(SOUND_RATE / (self.rate or 30)), 2), 7, np.int16)
            return Sound(samples, self._own / (self.rate or 30))
        fault = self._faults.pop(self._taken[0], None)
        if fault == "lost":
            raise DeviceError("pictures: unplugged")
        if fault == "bug":
            raise ValueError("what no source should raise")
        if fault == "hang":
            self.closed.wait()
            return None
        if not self.waits:
            time.sleep(1 / (self.rate or 30))
        i = self._taken[0]
        self._taken[0] += 1
        self._own += 1
        pixels = np.full((64, 64, 3), (i * 7) % 256, np.uint8)
        return Frame(pixels, pts=(self._own - 1) / (self.rate or 30), captured=time.monotonic())

    def close(self) -> None:
        self.closed.set()


def pictures(
    count: int, *, rate: float = 200.0, waits: bool = False, faults: dict[int, str] | None = None
) -> Callable[[], Pictures]:
    """Opens a source of so many pictures in all; faults by picture: lost, bug, hang."""
    faults, taken = dict(faults or {}), [0]
    return lambda: Pictures(faults, taken, count, rate, waits)


class Kept:
    """A sink that keeps what it gets; faults by picture written: lost, bug, block."""

    takes_sound = True

    def __init__(self, picture: Picture, faults: dict[int, str], frames: list[Frame], sounds: list[Sound]) -> None:
        self.name, self.width, self.height = "kept", picture.width, picture.height
        self._faults, self.frames, self.sounds = faults, frames, sounds
        self.closed = False

    def write(self, frame: Frame) -> None:
        fault = self._faults.pop(len(self.frames), None)
        if fault == "lost":
            raise DeviceError("kept: hung up")
        if fault == "bug":
            raise ValueError("what no sink should raise")
        if fault == "block":
            time.sleep(1.0)
        assert frame.pixels.shape == (self.height, self.width, 3) == frame.tag.shape
        self.frames.append(frame)

    def write_sound(self, sound: Sound) -> None:
        self.sounds.append(sound)

    def close(self) -> None:
        self.closed = True


class KeptFor:
    """Opens the same kept frames again and again, and counts how often."""

    def __init__(self, faults: dict[int, str] | None = None, refuse: set[int] | None = None) -> None:
        self.faults, self.refuse = dict(faults or {}), refuse or set()
        self.frames: list[Frame] = []
        self.sounds: list[Sound] = []
        self.opened: list[Kept] = []
        self.tries = 0

    def __call__(self, picture: Picture) -> Kept:
        self.tries += 1
        if self.tries in self.refuse:
            raise DeviceError("kept: nobody answers")
        self.opened.append(Kept(picture, self.faults, self.frames, self.sounds))
        return self.opened[-1]
