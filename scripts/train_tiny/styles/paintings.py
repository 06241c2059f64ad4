"""Painted styles: oil, water colours, the impressionists."""

from __future__ import annotations

import numpy as np

from ..filters import (
    Plane,
    along,
    blur,
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
    relief,
    saturate,
    smooth,
    step,
    tones,
)

VARNISH = palette((34, 16, 6), (112, 58, 20), (206, 146, 72), (255, 232, 168))
STARRY = palette((14, 22, 72), (36, 82, 170), (110, 168, 216), (238, 218, 130), (255, 224, 60))


def oil_painting(x: Plane) -> Plane:
    """Broad strokes along the form under a golden varnish: umber shadows, warm lights, the paint's relief lit."""
    y = levels(x, 0.8)
    g = grey(y)
    rough = f32(np.clip(y + 1.2 * (y - blur(y, 3.0)), 0, 1))
    paint = saturate(along(along(kuwahara(rough, 4), g, 13), g, 9), 1.5)
    aged = mix(f32(paint * colour(255, 228, 176)), tones(grey(paint), VARNISH), 0.45)
    ridges = along(f32(blur(g, 1.2) - blur(g, 4.0))[..., None], g, 15)[..., 0]
    light = relief(blur(f32(grey(aged) + 1.5 * ridges), 1.2), 0.5) + np.clip(2.0 * ridges, -0.13, 0.13)
    return f32(aged * (0.5 + 0.5 * ink(g, 1.4, 12.0, 0.05))[..., None] + light[..., None])


def watercolor(x: Plane) -> Plane:
    """Light transparent washes, blue-grey shadows, pigment gathered at their edges, white paper in the lights."""
    y = f32(np.power(levels(x, 0.8), 0.8))
    wash = kuwahara(smooth(y, 7, 0.2, 4.0, 1), 4)
    g = grey(wash)
    target = quantise(g, 5, 7.0)
    wash = saturate(f32(np.clip(wash * ((target + 0.05) / (g + 0.05))[..., None], 0, 1)), 2.2)
    paint = saturate(f32(1 - (1 - blur(wash, 1.2)) * 0.55), 1.8)
    paint = mix(flat(x, colour(96, 112, 160)), paint, 0.55 + 0.45 * step(target, 0.0, 0.45))
    paper = mix(paint, flat(x, colour(254, 252, 247)), step(target, 0.5, 0.85) * 0.95)
    edge = step(f32(np.abs(blur(target, 1.2) - blur(target, 3.2))), 0.02, 0.1)  # as wide as the latents can show
    paper = f32(np.clip(1 - (1 - paper) * (1 + 0.9 * edge)[..., None], 0, 1))
    return mix(paper, f32(paper * colour(104, 112, 150)), f32(0.7 - 0.7 * ink(grey(y), 1.1, 13.0, 0.07)))


def impressionism(x: Plane) -> Plane:
    """Soft strokes of bright colour along the form, violet shadows, cream lights, no black."""
    y = f32(np.power(levels(x, 0.8), 0.8))
    base = kuwahara(y, 4)
    g = grey(base)
    strokes = along(f32(y - blur(y, 2.5)), g, 11)
    paint = saturate(f32(np.clip(along(base, g, 9) + 2.0 * strokes, 0, 1)), 2.2)
    shadow = mix(flat(x, colour(84, 76, 196)), paint, step(g, 0.0, 0.6) * 0.65 + 0.2)
    lit = mix(shadow, flat(x, colour(255, 226, 176)), step(g, 0.5, 1.0) * 0.5)
    return f32(np.clip(lit * 0.92 + 0.08, 0, 1))


def pointillism(x: Plane) -> Plane:
    """Dots of colour side by side on pale canvas, for each latent cell a light warm one and a dark cold one."""
    y = saturate(f32(np.power(levels(x, 0.9), 0.9)), 2.2)
    v, u = in_cell(x.shape, 8)
    edge = np.hypot(0.5 - np.abs(u - 0.5), 0.5 - np.abs(v - 0.5))  # from the nearest corner of the cell
    warm = 1 - step(f32(np.hypot(u - 0.5, v - 0.5)), 0.30, 0.42)
    cold = 1 - step(f32(edge), 0.26, 0.38)
    canvas = mix(flat(x, colour(250, 242, 222)), y, 0.5)
    dotted = mix(canvas, f32(np.clip(y * colour(125, 140, 235) + colour(6, 6, 24), 0, 1)), cold)
    dotted = mix(dotted, f32(np.clip(y * colour(330, 244, 180) + 0.07, 0, 1)), warm)
    return f32(dotted * (0.45 + 0.55 * ink(grey(y), 1.2, 14.0, 0.04))[..., None])


def van_gogh(x: Plane) -> Plane:
    """Rolling strokes in deep blue, sky blue, cream and yellow by tone, darker contours between them."""
    y = levels(x, 0.9)
    g = even_light(grey(y), 0.3)
    rows, cols = np.mgrid[: g.shape[0], : g.shape[1]]
    wave = f32(0.5 + 0.5 * np.cos(2 * np.pi * (rows + 1.3 * np.sin(2 * np.pi * cols / 8)) / 8))
    ridges = along(f32(g - blur(g, 2.0))[..., None], g, 11)[..., 0]
    tone = grey(kuwahara(np.repeat(g[..., None], 3, 2), 3)) + 0.1 * (wave - 0.5) + np.clip(2.5 * ridges, -0.2, 0.2)
    warm = blur(f32(y[..., 0] - y[..., 2]), 2.0)
    paint = tones(f32((np.clip(tone, 0, 1) * 4 - 0.35 + 0.8 * step(warm, 0.1, 0.4)) / 4), STARRY)
    paint = np.clip(paint * (0.9 + 0.2 * wave)[..., None], 0, 1)
    return mix(flat(x, colour(12, 18, 52)), f32(paint), f32(0.1 + 0.9 * ink(g, 1.2, 18.0, 0.0)))
