"""Printed and animated styles: comics, posters, woodblocks, newspapers."""

from __future__ import annotations

import numpy as np

from ..filters import (
    Plane,
    along,
    blur,
    colour,
    dots,
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

POP = palette((40, 12, 84), (224, 24, 120), (255, 128, 24), (255, 226, 40), (96, 236, 236))
CUT = palette((38, 34, 70), (118, 58, 96), (216, 96, 82), (246, 176, 104), (252, 236, 200))


def comic_book(x: Plane) -> Plane:
    """Flat saturated colours, heavy black ink, a dot screen in the half-tones."""
    y = levels(x, 0.9)
    paint = smooth(y, 7, 0.14, 4.0, 2)
    g = grey(paint)
    target = quantise(np.clip(g * 1.25 + 0.08, 0, 1), 4, 9.0)
    paint = f32(np.clip(paint * ((target + 0.04) / (g + 0.04))[..., None], 0, 1))
    paint = saturate(paint, 2.4)
    screen = step(dots(g.shape, 8) - (0.38 + 0.5 * np.abs(g - 0.42)), -0.06, 0.06) * step(0.72 - g, 0.0, 0.1)
    paint = f32(paint * (1 - 0.45 * screen[..., None]))
    line = ink(even_light(grey(y), 0.3), 1.4, 26.0, 0.0, 18.0)
    black = step(blur(g, 0.8), 0.07, 0.15)
    return f32(paint * (line * black)[..., None])


def anime(x: Plane) -> Plane:
    """Bright cel shading in two tones, thin dark lines, cool violet shadows."""
    y = f32(np.power(levels(x, 0.9), 0.7))
    cel = kuwahara(smooth(y, 7, 0.14, 4.0, 2), 3)
    g = grey(cel)
    target = quantise(g, 3, 9.0) * 0.66 + 0.34
    cel = f32(np.clip(cel * ((target + 0.02) / (g + 0.02))[..., None], 0, 1))
    cel = saturate(cel, 2.2)
    tint = mix(f32(cel * colour(156, 138, 255)), cel, step(target, 0.4, 0.72))
    line = ink(grey(y), 1.1, 24.0, 0.02, 18.0)
    return mix(flat(x, colour(44, 18, 40)), tint, f32(0.08 + 0.92 * line))


def ukiyo_e(x: Plane) -> Plane:
    """Japanese woodblock print: few flat muted inks, bold outlines, warm paper, faint lines of the wood."""
    y = levels(x, 0.9)
    print_ = kuwahara(y, 3)
    g = even_light(grey(print_), 0.2)
    warm = step(blur(f32(print_[..., 0] - 0.5 * print_[..., 1] - 0.5 * print_[..., 2]), 1.0), 0.02, 0.14)
    middle = mix(flat(x, colour(70, 132, 146)), flat(x, colour(208, 98, 62)), warm)
    light = mix(flat(x, colour(172, 204, 188)), flat(x, colour(242, 210, 158)), warm)
    printed = mix(flat(x, colour(26, 40, 86)), middle, step(g, 0.2, 0.28))
    printed = mix(printed, light, step(g, 0.4, 0.48))
    printed = mix(printed, flat(x, colour(246, 232, 198)), step(g, 0.62, 0.70))
    row, _ = in_cell(x.shape, 8)
    printed = f32(printed * (1 - 0.08 * np.clip(np.cos(2 * np.pi * (row - 0.5)), 0, 1))[..., None])
    line = ink(even_light(grey(y), 0.3), 1.2, 24.0, 0.0)
    return mix(flat(x, colour(22, 22, 44)), printed, line)


def pop_art(x: Plane) -> Plane:
    """Screen print in five shrill colours by tone."""
    g = smooth(np.repeat(even_light(grey(levels(x)), 0.25)[..., None], 3, 2), 7, 0.15, 3.0, 2)[..., 0]
    tone = tones(quantise(np.clip(g * 1.02, 0, 1), 5, 9.0), POP)
    return f32(tone * (0.12 + 0.88 * ink(grey(levels(x)), 1.2, 16.0, 0.04))[..., None])


def linocut(x: Plane) -> Plane:
    """A block print in black on cream: two tones, with gouge marks along the form."""
    g = even_light(grey(levels(x)), 0.5)
    ridges = along(f32(g - blur(g, 2.0))[..., None], g, 11)[..., 0]
    tone = blur(g, 0.8) + np.clip(5.0 * ridges, -0.3, 0.3)
    value = step(f32(tone), 0.42, 0.52) * ink(g, 1.4, 18.0, 0.05)
    return mix(flat(x, colour(20, 22, 26)), flat(x, colour(242, 230, 202)), f32(value))


def newspaper(x: Plane) -> Plane:
    """A coarse black dot screen on newsprint."""
    g = np.clip(even_light(grey(levels(x)), 0.2), 0, 1)
    sharp = np.clip(g + 0.8 * (g - blur(g, 1.5)), 0, 1)
    printed = 1 - step(f32(dots(g.shape, 8) - np.power(sharp, 0.8)), -0.12, 0.12)
    line = ink(g, 1.0, 16.0, 0.06)
    return mix(flat(x, colour(34, 32, 34)), flat(x, colour(228, 220, 200)), f32(printed * (0.25 + 0.75 * line)))


def paper_cut(x: Plane) -> Plane:
    """Layers of cut coloured paper, each casting a soft shadow on the one below."""
    y = levels(x, 0.9)
    g = even_light(grey(kuwahara(kuwahara(y, 4), 3)), 0.2)
    layer = quantise(g, 5, 16.0)
    shifted = np.roll(blur(layer, 1.5), (3, 3), (0, 1))
    shadow = step(f32(shifted - layer), 0.03, 0.3)
    sheet = tones(layer, CUT)
    sheet = mix(sheet, saturate(f32(np.clip(kuwahara(y, 4) * 1.1, 0, 1)), 1.6), 0.3)
    edge = step(f32(np.abs(layer - blur(layer, 1.0))), 0.03, 0.15)
    cut = sheet * (1 - 0.55 * shadow)[..., None]
    return f32(np.clip(cut * (0.35 + 0.65 * ink(grey(y), 1.1, 14.0, 0.05))[..., None] + 0.08 * edge[..., None], 0, 1))
