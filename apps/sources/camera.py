"""A webcam, by OpenCV."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np

from streamdiff.errors import DeviceError
from streamdiff.frame import Frame

DEVICES = Path("/sys/class/video4linux")


def cameras() -> dict[int, str]:
    """Cameras by index, with their names; empty where the system does not tell."""
    found: dict[int, str] = {}
    for device in sorted(DEVICES.glob("video*")) if DEVICES.is_dir() else ():
        index, name = device / "index", device / "name"
        # A camera has several nodes; pictures come from its first.
        if not index.exists() or index.read_text().strip() == "0":
            number = device.name.removeprefix("video")
            found[int(number)] = name.read_text().strip() if name.exists() else device.name
    return found


def camera_of(wanted: str) -> int:
    """The index of a camera by number or part of its name.

    Raises:
        DeviceError: there is none of that name, with the names there are.
    """
    if not wanted or wanted.isdecimal():
        return int(wanted or 0)
    known = cameras()
    for index, name in known.items():
        if wanted.lower() in name.lower():
            return index
    names = ", ".join(f"{i} {name}" for i, name in known.items()) or "none found"
    if not DEVICES.is_dir() and sys.platform != "linux":
        names = "names are known on Linux alone: write camera:0, camera:1 and so on"
    raise DeviceError(f"camera {wanted!r}: there is none of that name ({names})")


class Camera:
    """A camera; see ``Source``."""

    has_sound = False
    waits = False

    def __init__(self, wanted: str = "0", *, width: int = 640, height: int = 480, rate: float = 30.0) -> None:
        """Open it and ask for a size and rate; it gives the nearest it has.

        Raises:
            DeviceError: there is none, or another program has it.
        """
        index = camera_of(wanted)
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it writes to stderr by itself
        self._device = cv2.VideoCapture(index)
        if not self._device.isOpened():
            self._device.release()
            hint = " (another program may have it, or this user may not open it)"
            if sys.platform == "darwin":
                hint = " (allow the terminal to use the camera in System Settings, Privacy)"
            raise DeviceError(f"camera {index}: cannot be opened{hint}; streamdiff live --list shows what is there")
        # Uncompressed pictures of this size do not fit through USB 2 at full rate.
        self._device.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        self._device.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        self._device.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        self._device.set(cv2.CAP_PROP_FPS, rate)
        self._device.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # an old picture is worth nothing
        self.name = f"camera {index}"
        self.width = int(self._device.get(cv2.CAP_PROP_FRAME_WIDTH)) or width
        self.height = int(self._device.get(cv2.CAP_PROP_FRAME_HEIGHT)) or height
        given = float(self._device.get(cv2.CAP_PROP_FPS))
        self.rate = given if 1 <= given <= 1000 else rate

    def read(self) -> Frame | None:
        """See ``Source``."""
        ok, picture = self._device.read()
        if not ok or picture is None:
            raise DeviceError(f"{self.name}: gives no pictures any more (unplugged, or taken by another program)")
        captured = time.monotonic()
        pixels = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        self.height, self.width = pixels.shape[:2]
        return Frame(pixels, captured=captured)

    def close(self) -> None:
        """See ``Source``."""
        self._device.release()
