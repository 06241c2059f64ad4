"""Moving pictures without a camera: photographs that a camera seems to wander over."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from apps.media.joined import Joined
from apps.media.reader import Reader
from streamdiff.errors import MediaError
from streamdiff.frame import Frame, Pixels

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
"""Photographs that scikit-image ships."""


def photograph(name: str) -> Pixels:
    """One of scikit-image's photographs.

    Raises:
        MediaError: scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError:
        raise MediaError(
            "scikit-image, which has the example photographs, is not installed; "
            "give a picture of your own, or: pip install 'streamdiff[demo]'"
        ) from None
    return np.ascontiguousarray(getattr(data, name)()[:, :, :3])


def noise_picture(width: int, height: int, seed: int = 0) -> Pixels:
    """A picture of soft coloured clouds, for measuring where there is no photograph."""
    random = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for scale in (4, 8, 16, 32, 64):
        coarse = random.random((max(2, height * scale // 512), max(2, width * scale // 512), 3), np.float32)
        picture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * (16 / scale)
    picture -= picture.min()
    return (picture / picture.max() * 255).astype(np.uint8)


class Wander:
    """A camera that pans and zooms smoothly over photographs, one after another, as a Reader.

    Frame k shows the same thing however often it is asked for.
    """

    still = False
    has_sound = False

    def __init__(
        self, photographs: Sequence[Pixels], width: int, height: int, seconds: float = 6.0, rate: float = 30.0
    ) -> None:
        from fractions import Fraction
        from pathlib import Path

        self.path = Path("wander")
        self.joined = Joined()
        self.width, self.height = width, height
        self.rate: float | None = rate
        self.frames: int | None = round(seconds * rate)
        self.time_base = Fraction(1, 90_000)
        self.warnings: list[str] = []
        self._photographs = photographs

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[Frame]:
        """Every frame, with its time."""
        assert self.frames is not None and self.rate is not None
        for index in range(self.frames):
            yield Frame(self.view(index), pts=index / self.rate, index=index, tag=1 / self.rate)

    def close(self) -> None:
        """Nothing is open."""

    def view(self, index: int) -> Pixels:
        """What the camera sees at frame ``index``."""
        assert self.frames is not None
        each = max(1, math.ceil(self.frames / len(self._photographs)))
        picture = self._photographs[min(index // each, len(self._photographs) - 1)]
        phase = (index % each) / each
        h, w = picture.shape[:2]
        # The largest window of the wanted aspect, then closer in the middle of the take, off centre on a slow curve.
        largest = min(w / self.width, h / self.height)
        scale = largest * (0.86 - 0.2 * math.sin(math.pi * phase))
        x = w / 2 + (w - scale * self.width) / 2 * 0.7 * math.sin(2 * math.pi * phase)
        y = h / 2 + (h - scale * self.height) / 2 * 0.7 * math.cos(2 * math.pi * phase)
        # Sub-pixel positions: whole ones would make a slow camera tremble.
        matrix = np.array([[scale, 0, x - scale * self.width / 2], [0, scale, y - scale * self.height / 2]], np.float64)
        return np.asarray(
            cv2.warpAffine(
                picture,
                matrix,
                (self.width, self.height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REFLECT,
            ),
            dtype=np.uint8,
        )
