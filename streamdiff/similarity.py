"""The stochastic similarity filter: a still scene is not computed again (StreamDiffusion, section 3.4)."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from streamdiff.frame import Pixels

THUMBNAIL = 64
"""Side, in pixels, of the area-averaged copy that is compared."""

Thumbnail: TypeAlias = NDArray[np.float32]
"""float32 [THUMBNAIL, THUMBNAIL, 3] in 0..255."""

MOST_DIFFERENCE = 2.0
"""Mean absolute difference, in levels of 255, beyond which a frame is never skipped.

The cosine is blind to contrast and exposure: x against x/2 gives 1. Camera noise, averaged over the cells of the
thumbnail, stays below one level; two levels of a fade are hardly seen.
"""


class SimilarityFilter:
    """Decides which frames need not be computed.

    Similarity S is the cosine of the frame and the last *processed* frame. It is skipped with the probability
    max(0, (S - threshold) / (1 - threshold)), never when the mean difference exceeds ``MOST_DIFFERENCE``, and at most
    ``max_skip`` times in a row. The draws come from the filter's own generator.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed(seed)
        self._reference: Thumbnail | None = None
        self._in_a_row = 0

    def seed(self, seed: int) -> None:
        """Start the draws anew."""
        self._random = np.random.default_rng(seed)

    def force(self) -> None:
        """Let the next frame through, whatever it looks like (a setting changed)."""
        self._reference = None

    def skip(self, pixels: Pixels, threshold: float, max_skip: int) -> bool:
        """Whether to skip this frame; a frame that is not skipped becomes the reference.

        Args:
            pixels: uint8 [H, W, 3].
            threshold: eta, in [0, 1).
            max_skip: most skips in a row, at least 1.
        """
        small = thumbnail(pixels)
        if self._reference is not None and self._in_a_row < max_skip:
            probability = skip_probability(small, self._reference, threshold)
            # The draw is taken only where chance decides, so that a moving scene costs none.
            if probability > 0 and self._random.random() < probability:
                self._in_a_row += 1
                return True
        self._reference = small
        self._in_a_row = 0
        return False


def skip_probability(a: Thumbnail, b: Thumbnail, threshold: float) -> float:
    """max(0, (S - threshold) / (1 - threshold)) of two thumbnails, 0 where they differ by more than is allowed."""
    if a.shape != b.shape or mean_difference(a, b) > MOST_DIFFERENCE:
        return 0.0
    norms = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    # Two black frames have no direction; the difference above has already called them alike.
    cosine = float(np.vdot(a, b)) / norms if norms > 0 else 1.0
    return max(0.0, (cosine - threshold) / (1.0 - threshold))


def mean_difference(a: Thumbnail, b: Thumbnail) -> float:
    """Mean absolute difference of two thumbnails, in levels of 255."""
    return float(np.abs(a - b).mean())


def thumbnail(pixels: Pixels) -> Thumbnail:
    """A small area-averaged copy, [THUMBNAIL, THUMBNAIL, 3], of uint8 [H, W, 3]."""
    small = cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)
