"""How steady a stylised video is, and how near it is to its style."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scripts.train_tiny.data import Pictures
from scripts.train_tiny.measures import frame_change

SEEN = 12.0
"""Where the input, moved along its motion, is further from the next frame than this, of 255, nothing is asked."""

Encode = Callable[[Pictures], Any]


def motion(video: Pictures) -> list[NDArray[np.float32]]:
    """For each frame after the first, where its pixels were in the frame before, [H, W, 2] (dense inverse search)."""
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video]
    height, width = video.shape[1:3]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    here = np.stack([columns, rows], axis=-1)
    return [here + finder.calc(now, before, None) for before, now in pairwise(grey)]


def warped_error(out: Pictures, given: Pictures, came_from: list[NDArray[np.float32]]) -> float:
    """Mean absolute change of a video after its motion is taken away, of 255, where the input's motion explains it.

    Args:
        out: [F, H, W, 3].
        given: the input, of the same shape.
        came_from: the input's ``motion``.
    """
    total = count = 0.0
    for i, places in enumerate(came_from, 1):
        before, own = (_moved(video[i - 1], places) for video in (out, given))
        seen = np.abs(own - given[i].astype(np.float32)).mean(2) < SEEN
        total += float(np.abs(before - out[i].astype(np.float32)).mean(2)[seen].sum())
        count += float(seen.sum())
    return total / max(count, 1.0)


def figures(
    out: Pictures, given: Pictures, came_from: list[NDArray[np.float32]], target: Pictures, encode: Encode
) -> dict[str, float]:
    """Flicker, warped error and the distance left to the style; arguments as ``warped_error``."""
    z = [encode(video).numpy() for video in (out, given, target)]
    return {
        "flicker": frame_change(out) / max(frame_change(given), 1e-6),
        "warped": warped_error(out, given, came_from),
        "left": float(np.abs(z[0] - z[2]).mean() / max(np.abs(z[1] - z[2]).mean(), 1e-6)),
    }


def mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure."""
    return {name: round(float(np.mean([row[name] for row in rows])), 4) for name in rows[0]}


def _moved(frame: Pictures, places: NDArray[np.float32]) -> NDArray[np.float32]:
    moved = cv2.remap(frame.astype(np.float32), places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, dtype=np.float32)
