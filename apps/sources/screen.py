"""The screen, or a region of it, by mss."""

from __future__ import annotations

import time
from typing import Any

import cv2
import numpy as np

from apps.sources.pacer import Pacer
from streamdiff.errors import ConfigError, DeviceError
from streamdiff.frame import Frame


def open_screen() -> Any:
    """mss, ready to grab.

    Raises:
        ConfigError: it is not installed.
        DeviceError: there is no screen.
    """
    try:
        import mss
    except ModuleNotFoundError:
        raise ConfigError("screen capture needs mss: pip install 'streamdiff[live]'") from None
    try:
        return mss.MSS()
    except Exception as error:  # every system has its own
        raise DeviceError(f"the screen cannot be captured ({error}); is there a display?") from error


class Screen:
    """A monitor or a region; see ``Source``. Opened and read in any one thread."""

    has_sound = False
    waits = False

    def __init__(self, monitor: int = 1, region: tuple[int, int, int, int] | None = None, rate: float = 30.0) -> None:
        """Begin.

        Args:
            monitor: from 1; 0 is all of them together.
            region: left, top, width, height in pixels, in place of a monitor.
            rate: pictures per second.

        Raises:
            DeviceError: there is no such monitor.
        """
        self._grabber = open_screen()
        monitors = self._grabber.monitors
        if region is None and not 0 <= monitor < len(monitors):
            self._grabber.close()
            raise DeviceError(f"screen {monitor}: there are {len(monitors) - 1} (0 is all of them together)")
        if region is None:
            self._part = monitors[monitor]
            self.name = f"screen {monitor}"
        else:
            self._part = dict(zip(("left", "top", "width", "height"), region, strict=True))
            self.name = "screen {},{} {}x{}".format(*region)
        self.width, self.height, self.rate = int(self._part["width"]), int(self._part["height"]), rate
        self._pacer = Pacer(rate)

    def read(self) -> Frame | None:
        """See ``Source``."""
        if not self._pacer.wait():
            return None
        try:
            grabbed = np.asarray(self._grabber.grab(self._part))
        except Exception as error:
            raise DeviceError(f"{self.name}: cannot be captured ({error})") from error
        pixels = np.asarray(cv2.cvtColor(grabbed, cv2.COLOR_BGRA2RGB), dtype=np.uint8)
        return Frame(pixels, captured=time.monotonic())

    def close(self) -> None:
        """See ``Source``."""
        self._pacer.stop()
        self._grabber.close()
