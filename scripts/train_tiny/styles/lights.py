"""Photographic and glowing styles: the photograph itself, old prints, neon, screens."""

from __future__ import annotations

import cv2
import numpy as np

from ..filters import (
    Plane,
    blur,
    colour,
    even_light,
    f32,
    flat,
    grey,
    ink,
    levels,
    mix,
    palette,
    saturate,
    step,
    tones,
)

HEAT = palette((8, 4, 40), (84, 10, 130), (198, 28, 100), (246, 112, 28), (255, 206, 50), (255, 252, 224))
WAVE = palette((30, 12, 74), (96, 30, 150), (240, 60, 168), (255, 142, 170), (126, 232, 240), (236, 255, 255))
CYBER = palette((6, 6, 26), (24, 26, 82), (128, 22, 140), (240, 50, 160), (60, 214, 236), (224, 252, 255))


def photo(x: Plane) -> Plane:
    """The photograph itself."""
    return x


def sepia(x: Plane) -> Plane:
    """An old brown print, softly faded."""
    g = step(grey(levels(x)), -0.1, 1.1)
    return mix(flat(x, colour(48, 26, 10)), flat(x, colour(245, 216, 160)), g)


def _edges(x: Plane, sigma: float = 1.0) -> tuple[Plane, Plane]:
    """Strength of the edges against their surroundings (about 1 at a clear edge), and twice their direction's angle."""
    y = blur(x, sigma)
    gx, gy = cv2.Sobel(y, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(y, cv2.CV_32F, 0, 1, ksize=3)
    magnitude = f32(np.sqrt((gx * gx + gy * gy).max(-1)))
    edge = f32(magnitude / (blur(magnitude, 16.0) * 1.6 + 0.12))
    angle = 2 * np.arctan2(grey(f32(gy)), grey(f32(gx)))
    tube = step(edge, 0.45, 1.3)
    phase = blur(f32(np.stack([np.cos(angle) * tube, np.sin(angle) * tube], -1)), 2.5)
    return edge, f32(np.arctan2(phase[..., 1], phase[..., 0]))


def neon(x: Plane) -> Plane:
    """Glowing tubes of light along the edges, on near black."""
    edge, angle = _edges(x)
    tube = step(edge, 0.45, 1.3)
    pink, cyan, violet = colour(255, 40, 190), colour(20, 235, 255), colour(150, 70, 255)
    tint = mix(flat(x, pink), flat(x, cyan), 0.5 + 0.5 * np.cos(angle)) * 0.85 + violet * 0.15
    tint = mix(tint, saturate(f32(x / (x.max(-1, keepdims=True) + 0.05)), 3.0), 0.35)
    light = f32(tint * tube[..., None])
    glow = blur(light, 3.0) * 0.9 + blur(light, 9.0) * 0.8
    core = step(edge, 0.9, 2.0)[..., None] * 0.6
    base = colour(8, 5, 22) + 0.14 * tint * grey(levels(x))[..., None]
    return f32(np.clip(1 - (1 - base) * (1 - np.clip(glow, 0, 1)) * (1 - light) * (1 - core), 0, 1))


def cyberpunk(x: Plane) -> Plane:
    """A city at night under magenta and cyan signs: graded by tone, with bloom."""
    y = levels(x)
    g = even_light(grey(y), 0.25)
    graded = tones(f32(np.power(g, 1.15)), CYBER)
    graded = mix(graded, saturate(y, 1.6) * colour(190, 150, 255), 0.3)
    bright = graded * step(g, 0.6, 0.95)[..., None]
    bloom = blur(f32(bright), 5.0) * 0.6
    out = 1 - (1 - graded) * (1 - np.clip(bloom, 0, 1))
    return f32(out * (0.35 + 0.65 * ink(grey(y), 1.0, 14.0, 0.05))[..., None])


def vaporwave(x: Plane) -> Plane:
    """Pink, violet and cyan by tone, with the faint lines of an old screen."""
    g = even_light(grey(levels(x)), 0.2)
    rows = np.mgrid[: g.shape[0], : g.shape[1]][0]
    lines = 0.9 + 0.1 * np.cos(2 * np.pi * rows / 8)
    return f32(tones(g, WAVE) * lines[..., None] * (0.6 + 0.4 * ink(g, 1.0, 14.0, 0.05))[..., None])


def thermal(x: Plane) -> Plane:
    """A heat camera: soft, black over purple and orange to white."""
    g = blur(even_light(grey(levels(x)), 0.1), 1.2)
    return tones(g, HEAT)


def hologram(x: Plane) -> Plane:
    """A projection of cyan light: bright contours, scan lines, dark all around."""
    edge, _ = _edges(x)
    g = even_light(grey(levels(x)), 0.2)
    rows = np.mgrid[: g.shape[0], : g.shape[1]][0]
    lines = 0.78 + 0.22 * np.cos(2 * np.pi * rows / 8)
    light = np.clip(0.04 + 0.72 * np.power(g, 1.4) + 0.55 * step(edge, 0.5, 1.6), 0, 1) * lines
    colours = tones(f32(light), palette((2, 10, 26), (6, 84, 132), (40, 196, 226), (208, 255, 255)))
    return f32(1 - (1 - colours) * (1 - 0.35 * blur(colours, 5.0)))
