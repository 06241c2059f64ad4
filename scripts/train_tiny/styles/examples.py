"""A style taken from a folder of pictures: their colours and the strength of their strokes, put onto the photograph.

Colours by transporting one cloud of colours onto another along turned axes (Pitie et al. 2005), texture by giving each
band of a Laplacian pyramid the example's histogram (Heeger and Bergen 1995). It copies no motif; a painter's palette,
contrast and coarseness it does. It is a fixed function of the photograph, as a style must be to be learnt.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from streamdiff.picture import cover

from ..data import read_rgb
from ..filters import Plane, along, f32, grey, ink

KINDS = {".jpg", ".jpeg", ".png", ".webp"}
SIDE = 256
QUANTILES = np.linspace(0, 1, 65)
BANDS = 4
TURNS = 6


class Examples:
    """The filter: photograph [H, W, 3] in 0..1 -> the same in the colours and texture of the nearest example."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError where the folder holds no pictures."""
        self.paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in KINDS)
        if not self.paths:
            raise FileNotFoundError(f"{folder} holds no pictures (.jpg, .png or .webp) to take a style from")

    @cached_property
    def pictures(self) -> list[Plane]:
        """The examples, [256, 256, 3] in 0..1."""
        found: list[Plane] = []
        for path in self.paths:
            found.append(f32(cover(read_rgb(path), SIDE, SIDE)) / 255)
        return found

    def __call__(self, x: Plane) -> Plane:
        """Stylise."""
        tones = np.quantile(grey(x), QUANTILES)
        nearest = min(self.pictures, key=lambda p: float(np.abs(np.quantile(grey(p), QUANTILES) - tones).mean()))
        painted = along(transport(x, nearest), grey(x), 7)
        return f32(np.clip(texture(painted, nearest) * (0.7 + 0.3 * ink(grey(x), 1.1, 12.0, 0.05))[..., None], 0, 1))


def transport(x: Plane, example: Plane) -> Plane:
    """Move the cloud of colours of `x` onto the example's: its quantiles along axes turned anew each time."""
    rng = np.random.default_rng(0)
    ours, theirs = x.reshape(-1, 3).astype(np.float64), example.reshape(-1, 3).astype(np.float64)
    for _ in range(TURNS):
        axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        a, b = ours @ axes, theirs @ axes
        for i in range(3):
            a[:, i] = _match(a[:, i], b[:, i])
        ours = a @ axes.T
    return f32(np.clip(ours, 0, 1).reshape(x.shape))


def texture(x: Plane, example: Plane) -> Plane:
    """Give each band of the luminance's Laplacian pyramid the histogram of the example's."""
    ours, theirs = _bands(grey(x)), _bands(grey(example))
    change = np.zeros(x.shape[:2], np.float32)
    for a, b in zip(ours, theirs, strict=True):
        matched = f32(_match(a.ravel().astype(np.float64), b.ravel().astype(np.float64))).reshape(a.shape)
        change += np.clip(matched, -2.5 * np.abs(a) - 0.02, 2.5 * np.abs(a) + 0.02) - a
    return f32(np.clip(x + change[..., None], 0, 1))


def _bands(g: Plane) -> list[Plane]:
    """Differences of Gaussians, fine to coarse, at full size."""
    levels = [g] + [f32(cv2.GaussianBlur(g, (0, 0), 2.0**i)) for i in range(BANDS)]
    return [a - b for a, b in pairwise(levels)]


def _match(values: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values with the quantiles of `wanted`."""
    ours, theirs = np.quantile(values, QUANTILES), np.quantile(wanted, QUANTILES)
    ours = ours + np.arange(len(ours)) * 1e-9  # strictly rising, for interpolation
    return np.interp(values, ours, theirs)
