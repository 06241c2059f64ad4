"""Drawn styles: pencil, charcoal, ink, chalk."""

from __future__ import annotations

import numpy as np

from ..filters import (
    Plane,
    blur,
    colour,
    even_light,
    f32,
    flat,
    grey,
    hatching,
    ink,
    kuwahara,
    levels,
    mix,
    saturate,
    step,
    streaks,
)


def _dodge(g: Plane, sigma: float = 5.0, power: float = 2.6) -> Plane:
    """Outlines by colour dodge: 1 = paper."""
    return f32(np.power(np.clip(g / np.maximum(blur(g, sigma), 0.05), 0, 1), power))


def pencil_sketch(x: Plane) -> Plane:
    """Graphite on white paper: outlines, and strokes of one direction in the shadows."""
    g = even_light(grey(levels(x)), 0.35)
    line = _dodge(g) * (0.4 + 0.6 * ink(g, 0.9, 18.0))
    tone = blur(g, 1.5)
    dark = step(0.62 - tone, 0.0, 0.5)
    shade = dark * np.clip(0.34 - 1.4 * streaks(g, 55), 0, 0.75)
    return mix(flat(x, colour(44, 44, 50)), flat(x, colour(250, 249, 245)), f32(np.clip(line * (1 - shade), 0, 1)))


def colored_pencil(x: Plane) -> Plane:
    """Bright slanted pencil strokes that leave white paper between them, more of it in the lights."""
    y = saturate(levels(x, 0.8), 1.9)
    g = grey(y)
    pigment = 1 - y
    strokes = 0.3 + 0.8 * step(hatching(g.shape, 8) + 0.55 * (1 - blur(g, 1.5)), 0.25, 0.85)
    paper = f32(1 - np.clip(pigment * strokes[..., None], 0, 1))
    line = _dodge(even_light(g, 0.3), 4.0, 2.0)
    return f32(np.clip(paper * mix(flat(x, colour(92, 52, 70)), np.ones_like(x), line), 0, 1))


def charcoal(x: Plane) -> Plane:
    """Heavy black smudges and thick lines on grey-brown paper."""
    g = even_light(grey(levels(x)), 0.3)
    soft = grey(kuwahara(np.repeat(g[..., None], 3, 2), 3))
    smudge = blur(soft, 1.0) + 1.3 * streaks(g, 35, 13)
    value = step(f32(smudge), 0.16, 0.66) * (0.06 + 0.94 * ink(g, 1.6, 18.0))
    return mix(flat(x, colour(14, 13, 13)), flat(x, colour(206, 194, 174)), f32(value))


def ink_drawing(x: Plane) -> Plane:
    """Black pen on white: crisp outlines, parallel hatching in the half-tones, crossed in the darks."""
    g = even_light(grey(levels(x)), 0.4)
    line = ink(g, 1.0, 24.0, 0.0, 20.0)
    tone = blur(g, 1.5)
    first = 1 - step(0.52 - tone, 0.0, 0.12) * step(hatching(g.shape, 8), 0.45, 0.7)
    second = 1 - step(0.30 - tone, 0.0, 0.12) * step(hatching(g.shape, 8, rising=False), 0.45, 0.7)
    black = step(tone, 0.06, 0.14)
    return mix(flat(x, colour(18, 16, 24)), flat(x, colour(252, 250, 242)), f32(line * first * second * black))


def chalkboard(x: Plane) -> Plane:
    """White and yellow chalk on a dark green board."""
    g = even_light(grey(levels(x)), 0.4)
    line = 1 - _dodge(g, 4.0, 2.2) * ink(g, 1.1, 20.0)
    light = step(blur(g, 1.5), 0.55, 0.95) * np.clip(0.3 + 1.6 * streaks(g, 30, 13), 0, 0.8)
    chalk = np.clip(line * 1.1 + light, 0, 1)
    warm = step(blur(f32(x[..., 0] - x[..., 2]), 2.0), 0.08, 0.35)
    tint = mix(flat(x, colour(240, 244, 238)), flat(x, colour(255, 226, 140)), warm)
    return mix(flat(x, colour(28, 58, 46)), tint, f32(chalk))


def blueprint(x: Plane) -> Plane:
    """White drawing lines on blue paper with a faint grid."""
    g = even_light(grey(levels(x)), 0.3)
    line = 1 - ink(g, 0.9, 17.0)
    mark = np.clip(line * 0.9 + (1 - _dodge(g, 4.0, 2.5)) * 0.75, 0, 1)
    rows, cols = np.mgrid[: g.shape[0], : g.shape[1]]
    grid = ((rows % 8 == 0) | (cols % 8 == 0)).astype(np.float32) * 0.12
    paper = mix(flat(x, colour(12, 44, 112)), flat(x, colour(34, 90, 178)), g)
    return mix(paper, flat(x, colour(236, 244, 255)), f32(np.clip(mark + grid, 0, 1)))
