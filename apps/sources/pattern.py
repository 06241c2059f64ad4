"""A test picture: colour bars, a moving disc, and a clock."""

from __future__ import annotations

import math
import time

import cv2
import numpy as np

from apps.sources.pacer import Pacer
from streamdiff.frame import Frame

BARS = ((235, 235, 235), (235, 235, 16), (16, 235, 235), (16, 235, 16), (235, 16, 235), (235, 16, 16), (16, 16, 235))


class Pattern:
    """Something to look at without a camera; see ``Source``."""

    name = "test pattern"
    has_sound = False
    waits = False

    def __init__(self, width: int = 512, height: int = 512, rate: float = 30.0) -> None:
        self.width, self.height, self.rate = width, height, rate
        rows = np.asarray(BARS, np.uint8)[np.arange(width) * len(BARS) // width]
        self._bars = np.ascontiguousarray(np.broadcast_to(rows, (height, width, 3)))
        self._pacer = Pacer(rate)
        self._count = 0

    def read(self) -> Frame | None:
        """See ``Source``."""
        if not self._pacer.wait():
            return None
        captured = time.monotonic()
        seconds = self._count / self.rate
        picture = self._bars.copy()
        side = min(self.width, self.height)
        turn = 2 * math.pi * seconds / 4
        centre = (round(self.width / 2 + side / 4 * math.cos(turn)), round(self.height / 2 + side / 4 * math.sin(turn)))
        cv2.circle(picture, centre, side // 8, (240, 120, 40), -1, cv2.LINE_AA)
        text = f"{seconds:7.2f} s  {self._count}"
        cv2.rectangle(picture, (0, self.height - side // 8), (self.width, self.height), (0, 0, 0), -1)
        cv2.putText(picture, text, (side // 32, self.height - side // 32), cv2.FONT_HERSHEY_SIMPLEX, side / 512,
                    (255, 255, 255), max(1, side // 256), cv2.LINE_AA)  # fmt: skip
        self._count += 1
        return Frame(picture, pts=seconds, captured=captured)

    def close(self) -> None:
        """See ``Source``."""
        self._pacer.stop()
