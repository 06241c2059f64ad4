"""Frame: one picture on its way through the stream, with its times and its identity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""A picture: uint8, [height, width, 3], RGB."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture and everything that travels with it.

    Attributes:
        pixels: uint8 [height, width, 3], RGB. Treated as read-only: a repeated output shares its pixels.
        pts: presentation time in seconds on the source's own clock; None when the source has none.
        captured: ``time.monotonic()`` seconds at which the picture was captured, for measuring latency.
        index: identity within its source, counted from 0; the output of a frame keeps its index.
        repeated: the similarity filter skipped this frame and the pixels are those of an earlier output.
        tag: anything the caller wants back with the output; the stream never looks at it.
    """

    pixels: Pixels
    pts: float | None = None
    captured: float | None = None
    index: int = 0
    repeated: bool = False
    tag: Any = None

    def with_pixels(self, pixels: Pixels, *, repeated: bool = False) -> Frame:
        """The same frame (times, identity, tag) showing other pixels."""
        return replace(self, pixels=pixels, repeated=repeated)
