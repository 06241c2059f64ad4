"""Styles of blocks and pieces: pixels, tiles, stitches, glass."""

from __future__ import annotations

import cv2
import numpy as np

from ..filters import (
    Plane,
    blur,
    cells,
    colour,
    f32,
    flat,
    grey,
    in_cell,
    ink,
    levels,
    mix,
    saturate,
    smooth,
    step,
)

LEAD = 16  # pixels between the seeds of the glass pieces


def pixel_art(x: Plane) -> Plane:
    """8-pixel blocks (one per latent cell) of a limited bright palette."""
    y = saturate(levels(x, 0.9), 1.5)
    small = f32(cv2.resize(y, (x.shape[1] // 8, x.shape[0] // 8), interpolation=cv2.INTER_AREA))
    small = f32(np.clip(small + 0.8 * (small - blur(small, 1.0)), 0, 1))
    small = f32(np.round(small * 6) / 6)
    return f32(cv2.resize(small, (x.shape[1], x.shape[0]), interpolation=cv2.INTER_NEAREST))


def mosaic(x: Plane) -> Plane:
    """Glazed tiles in dark joints, each lit from the upper left; what they show goes on inside the tile."""
    y = saturate(levels(x, 0.9), 1.5)
    tile = mix(cells(y, 8), smooth(y, 5, 0.15, 3.0), 0.3)
    v, u = in_cell(x.shape, 8)
    joint = step(f32(np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))), 0.02, 0.14)
    bevel = 0.16 * (step(f32(0.36 - np.minimum(u, v)), 0.0, 0.2) - step(f32(np.maximum(u, v) - 0.64), 0.0, 0.2))
    glazed = np.clip(tile * colour(262, 246, 226) + bevel[..., None], 0, 1)
    glazed = glazed * (0.4 + 0.6 * ink(grey(y), 1.2, 14.0, 0.03))[..., None]
    return mix(f32(0.45 * glazed + 0.55 * colour(88, 78, 72)), f32(glazed), joint)


def cross_stitch(x: Plane) -> Plane:
    """Crosses of thread on cream linen."""
    y = saturate(f32(np.power(levels(x, 0.9), 0.85)), 1.7)
    thread = mix(f32(np.round(cells(y, 8) * 7) / 7), y, 0.3)
    v, u = in_cell(x.shape, 8)
    rising, falling = np.abs(u + v - 1), np.abs(u - v)
    over = 1 - step(f32(rising), 0.2, 0.36)
    under = 1 - step(f32(falling), 0.2, 0.36)
    lit = thread * (0.72 + 0.3 * under + 0.28 * over * (1 - 0.4 * under))[..., None]
    return mix(flat(x, colour(228, 216, 192)), f32(np.clip(lit, 0, 1)), f32(np.maximum(over, under)))


def stained_glass(x: Plane) -> Plane:
    """Glowing pieces of one colour each, set in black lead along the contours."""
    y = saturate(f32(np.power(levels(x), 0.85)), 2.0)
    calm = smooth(y, 7, 0.2, 5.0, 2)
    g = grey(calm)
    gx, gy = cv2.Sobel(g, cv2.CV_32F, 1, 0), cv2.Sobel(g, cv2.CV_32F, 0, 1)
    slope = blur(np.sqrt(gx * gx + gy * gy), 1.0)
    height, width = g.shape
    marks = np.zeros((height, width), np.int32)
    number = 0
    for top in range(0, height, LEAD):
        for left in range(0, width, LEAD):
            window = slope[top + 4 : top + LEAD - 4, left + 4 : left + LEAD - 4]
            if window.size:
                number += 1
                row, col = np.unravel_index(int(window.argmin()), window.shape)
                marks[top + 4 + row, left + 4 + col] = number
    picture = np.asarray(np.clip(calm, 0, 1) * 255, dtype=np.uint8)
    cv2.watershed(np.ascontiguousarray(picture[..., ::-1]), marks)
    lead = (marks <= 0).astype(np.float32)
    index = np.clip(marks, 0, number)
    count = np.maximum(np.bincount(index.ravel(), minlength=number + 1), 1)
    glass = np.stack(
        [(np.bincount(index.ravel(), calm[..., c].ravel(), number + 1) / count)[index] for c in range(3)], -1
    )
    glass = mix(f32(glass), calm, 0.25)
    glow = saturate(f32(np.clip(glass * 1.1 + 0.04, 0, 1)), 1.4)
    line = (1 - np.clip(blur(lead, 0.9) * 2.6, 0, 1)) * (0.2 + 0.8 * ink(grey(y), 1.4, 16.0, 0.02))
    return mix(flat(x, colour(16, 14, 20)), glow, f32(line))
