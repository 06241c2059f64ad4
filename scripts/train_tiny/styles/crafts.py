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
    hatching,
    in_cell,
    ink,
    levels,
    mix,
    quantise,
    saturate,
    smooth,
    step,
)

LEAD = 32  # pixels between the parallel lead bars of a window


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
    """Needlework on cream linen: blocks of slanted stitches that change their direction from block to block."""
    y = saturate(f32(np.power(levels(x, 0.9), 0.85)), 1.7)
    thread = f32(np.round(smooth(y, 5, 0.2, 3.0) * 7) / 7)
    rows, cols = np.mgrid[: x.shape[0], : x.shape[1]]
    rising = ((rows // 16 + cols // 16) % 2 == 0).astype(np.float32)
    slant = mix(hatching(x.shape, 8, rising=False)[..., None], hatching(x.shape, 8)[..., None], rising)[..., 0]
    lit = np.clip(thread * (0.62 + 0.55 * slant)[..., None], 0, 1)
    gap = 1 - step(slant, 0.05, 0.3)
    return mix(f32(lit), flat(x, colour(228, 216, 192)), f32(0.75 * gap))


def stained_glass(x: Plane) -> Plane:
    """Glowing flat colours in black lead: along the contours, and in a lattice of diamonds."""
    y = saturate(f32(np.power(levels(x), 0.85)), 2.0)
    calm = smooth(y, 7, 0.2, 5.0, 2)
    glass = saturate(f32(quantise(calm, 4, 6.0) * 1.08 + 0.03), 1.6)
    rows, cols = np.mgrid[: x.shape[0], : x.shape[1]]
    bars = np.minimum((rows + cols) % LEAD, (rows - cols) % LEAD)
    far = np.minimum(bars, LEAD - np.maximum((rows + cols) % LEAD, (rows - cols) % LEAD)).astype(np.float32)
    lattice = step(far, 0.6, 2.6)
    glow = 0.8 + 0.3 * step(far, 2.0, 9.0)
    line = ink(grey(calm), 1.8, 22.0, 0.02) * lattice
    return mix(flat(x, colour(16, 14, 20)), f32(np.clip(glass * glow[..., None], 0, 1)), f32(line))
