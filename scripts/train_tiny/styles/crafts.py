"""Styles of blocks and pieces: pixels, tiles, stitches, glass."""

from __future__ import annotations

import cv2
import numpy as np

from ..filters import (
    Plane,
    blur,
    cells,
    colour,
    even_light,
    f32,
    flat,
    grey,
    in_cell,
    ink,
    kuwahara,
    levels,
    mix,
    palette,
    quantise,
    saturate,
    smooth,
    step,
    tones,
)

WINDOW = palette((34, 24, 96), (112, 30, 112), (24, 120, 150), (238, 160, 52), (255, 226, 136))


def pixel_art(x: Plane) -> Plane:
    """8-pixel blocks (one per latent cell) of a limited bright palette, thin dark lines between them."""
    y = saturate(levels(x, 0.9), 1.5)
    small = f32(cv2.resize(y, (x.shape[1] // 8, x.shape[0] // 8), interpolation=cv2.INTER_AREA))
    small = f32(np.clip(small + 0.8 * (small - blur(small, 1.0)), 0, 1))
    light = grey(small)[..., None]  # in few levels, the hue as it is: channels in their own levels stain what is grey
    small = f32(np.clip(quantise(light, 6, 8.0) + 1.1 * (small - light), 0, 1))
    blocks = f32(cv2.resize(small, (x.shape[1], x.shape[0]), interpolation=cv2.INTER_NEAREST))
    v, u = in_cell(x.shape, 8)
    return blocks * (0.8 + 0.2 * step(f32(np.minimum(1 - u, 1 - v)), 0.06, 0.13))[..., None]


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
    """Needlework on cream linen: one crossed stitch of one colour for each latent cell."""
    y = saturate(f32(np.power(levels(x, 0.9), 0.85)), 1.7)
    calm = smooth(y, 5, 0.2, 3.0)
    thread = f32(np.round(mix(cells(calm, 8), calm, 0.6) * 7) / 7)
    v, u = in_cell(x.shape, 8)
    over, under = np.abs(u - v), np.abs(u + v - 1)
    stitch = 1 - step(f32(np.minimum(over, under)), 0.2, 0.34)
    lit = 0.66 + 0.4 * (1 - step(f32(over), 0.12, 0.3)) + 0.16 * (1 - step(f32(under), 0.0, 0.2))
    linen = flat(x, colour(226, 214, 190)) * (0.55 + 0.45 * thread)
    sewn = mix(linen, f32(np.clip(thread * lit[..., None], 0, 1)), f32(stitch))
    return f32(sewn * (0.4 + 0.6 * ink(grey(y), 1.3, 16.0, 0.03))[..., None])


def stained_glass(x: Plane) -> Plane:
    """Glowing flat panes in bold black lead along the contours; what has no colour of its own is given the window's."""
    calm = kuwahara(smooth(saturate(f32(np.power(levels(x), 0.85)), 2.0), 9, 0.25, 6.0, 2), 4)
    g = grey(calm)
    lead = ink(blur(g, 0.8), 1.9, 30.0, 0.06, 22.0)
    tone = quantise(even_light(g, 0.3), 4, 4.0)
    even = calm * ((0.55 * tone + 0.45 * g + 0.12) / (g + 0.1))[..., None]
    pane = saturate(f32(np.clip(even, 0, 1)), 1.9)
    spread = f32(pane.max(-1) - pane.min(-1))
    pane = mix(tones(blur(tone, 1.0), WINDOW), pane, blur(step(spread, 0.15, 0.6), 1.0))
    glow = 0.7 + 0.5 * blur(lead, 3.0)
    return mix(flat(x, colour(14, 12, 18)), f32(np.clip(pane * glow[..., None] + 0.03, 0, 1)), f32(lead))
