"""Picture quality in one number."""

from __future__ import annotations

import cv2

from streamdiff.frame import Pixels

EQUAL = 99.0
"""dB that stand for no difference at all."""


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal to noise ratio in dB of uint8 pictures, or stacks of them, of equal shape."""
    return min(EQUAL, float(cv2.PSNR(a.reshape(len(a), -1), b.reshape(len(b), -1))))
