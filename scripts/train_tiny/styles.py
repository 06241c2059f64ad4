"""The styles: for each a target filter, its prompt, and the words people use for it.

A filter turns a photograph into the picture the model is to learn. All are local
functions of the photograph, so that a small network can learn them sharply; screens (dots, hatching, blocks) are
aligned to the 8-pixel latent grid for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from .data import Picture
from .filters import (
    Plane,
    blur,
    colour,
    dots,
    even_light,
    f32,
    grey,
    hatching,
    ink,
    kuwahara,
    levels,
    mix,
    quantise,
    relief,
    saturate,
    smooth,
    step,
)


@dataclass(frozen=True)
class Style:
    """A style: prompt, target filter on float RGB in 0..1, and other wordings of the prompt."""

    prompt: str
    filter: Callable[[Plane], Plane]
    synonyms: tuple[str, ...]
    share: float = 1.0  # how often it is drawn in training, against the others

    def stylise(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """uint8 RGB [H, W, 3] -> the same, stylised. `rng` is for filters of chance; today's have none."""
        del rng
        out = self.filter(f32(picture) / 255)
        return np.asarray(np.clip(out, 0, 1) * 255 + 0.5, dtype=np.uint8)


def photo(x: Plane) -> Plane:
    """The photograph itself."""
    return x


def pencil_sketch(x: Plane) -> Plane:
    """Graphite on white paper: outlines by colour dodge, hatching in the shadows."""
    g = even_light(grey(levels(x)), 0.35)
    dodge = np.clip(g / np.maximum(blur(g, 5.0), 0.05), 0, 1)
    line = np.power(dodge, 2.6) * (0.45 + 0.55 * ink(g, 0.9, 16.0))
    tone = blur(g, 1.5)
    shade = step(0.55 - tone, 0.0, 0.5) * 0.34 * step(hatching(g.shape, 8), 0.25, 0.75)
    shade = shade + step(0.3 - tone, 0.0, 0.3) * 0.25 * step(hatching(g.shape, 8, rising=False), 0.3, 0.8)
    value = np.clip(line * (1 - shade) * (0.90 + 0.10 * tone), 0, 1)
    return mix(colour(52, 52, 58) + np.zeros_like(x), colour(250, 249, 245) + np.zeros_like(x), f32(value))


def charcoal(x: Plane) -> Plane:
    """Heavy black smudges and thick lines on grey-brown paper."""
    g = even_light(grey(levels(x)), 0.3)
    soft = blur(grey(kuwahara(np.repeat(g[..., None], 3, 2), 3)), 1.0)
    line = ink(g, 1.5, 16.0)
    grain = 0.22 * (hatching(g.shape, 8) - 0.5) * step(0.85 - soft, 0.0, 0.3)
    value = step(soft + grain, 0.12, 0.72) * (0.08 + 0.92 * line)
    return mix(colour(14, 13, 13) + np.zeros_like(x), colour(204, 192, 172) + np.zeros_like(x), f32(value))


def oil_painting(x: Plane) -> Plane:
    """Thick patches of rich warm paint; brush strokes along the form, lit from the side."""
    y = levels(x, 0.6)
    detail = ink(grey(y), 1.1, 12.0, 0.05)
    y = blur(kuwahara(kuwahara(y, 3), 3), 0.6)
    y = saturate(y, 1.7)
    g = grey(y)
    strokes = hatching(g.shape, 8)
    warm = np.clip(f32(np.power(y, 1.1)) * colour(268, 248, 214) * (0.5 + 0.5 * detail)[..., None], 0, 1)
    return f32(warm * (1 + 0.24 * (strokes - 0.5))[..., None] + relief(g, 0.4)[..., None])


def watercolor(x: Plane) -> Plane:
    """Light transparent washes with pigment gathered at their edges, white paper in the lights."""
    y = f32(np.power(levels(x, 0.8), 0.85))
    wash = kuwahara(smooth(y, 7, 0.2, 4.0, 1), 4)
    g = grey(wash)
    target = quantise(g, 5, 7.0)
    wash = saturate(f32(np.clip(wash * ((target + 0.05) / (g + 0.05))[..., None], 0, 1)), 2.0)
    paint = saturate(f32(1 - (1 - blur(wash, 0.8)) * 0.55), 2.0)
    paper = mix(paint, colour(254, 252, 247) + np.zeros_like(x), step(target, 0.5, 0.85) * 0.92)
    edge = step(f32(np.abs(blur(target, 0.8) - blur(target, 2.2))), 0.015, 0.09)
    paper = f32(paper * (1 - 0.55 * edge[..., None] * (1.2 - wash)))
    return f32(paper * (0.6 + 0.4 * ink(grey(y), 0.9, 13.0, 0.05))[..., None])


def comic_book(x: Plane) -> Plane:
    """Flat saturated colours, black ink, a dot screen in the half-tones."""
    y = levels(x, 0.9)
    flat = smooth(y, 7, 0.14, 4.0, 2)
    g = grey(flat)
    target = quantise(np.clip(g * 1.2 + 0.06, 0, 1), 4, 8.0)
    flat = f32(np.clip(flat * ((target + 0.04) / (g + 0.04))[..., None], 0, 1))
    flat = saturate(flat, 2.0)
    screen = step(dots(g.shape, 8) - (0.34 + 0.5 * np.abs(g - 0.45)), -0.06, 0.06) * step(0.78 - g, 0.0, 0.1)
    flat = f32(flat * (1 - 0.5 * screen[..., None]))
    line = ink(even_light(grey(y), 0.3), 1.2, 22.0, 0.02)
    black = step(blur(g, 0.8), 0.05, 0.13)
    return f32(flat * (line * black)[..., None])


def anime(x: Plane) -> Plane:
    """Bright cel shading in two tones, thin soft brown lines."""
    y = f32(np.power(levels(x, 0.8), 0.72))
    flat = kuwahara(smooth(y, 7, 0.12, 4.0, 2), 3)
    g = grey(flat)
    target = quantise(g, 3, 7.0) * 0.72 + 0.3
    flat = f32(np.clip(flat * ((target + 0.02) / (g + 0.02))[..., None], 0, 1))
    flat = saturate(flat, 1.6)
    tint = mix(flat * colour(215, 205, 255), flat, step(target, 0.45, 0.75))
    line = ink(grey(y), 1.0, 18.0, 0.03)
    return mix(colour(60, 28, 44) + np.zeros_like(x), tint, f32(0.15 + 0.85 * line))


def ukiyo_e(x: Plane) -> Plane:
    """Japanese woodblock print: few flat muted inks, bold outlines, warm paper, faint lines of the wood."""
    y = levels(x, 0.9)
    flat = kuwahara(y, 3)
    g = even_light(grey(flat), 0.2)
    warm = step(blur(f32(flat[..., 0] - 0.5 * flat[..., 1] - 0.5 * flat[..., 2]), 1.0), 0.02, 0.14)
    middle = mix(colour(84, 138, 146) + np.zeros_like(x), colour(206, 110, 72) + np.zeros_like(x), warm)
    light = mix(colour(176, 202, 186) + np.zeros_like(x), colour(240, 214, 166) + np.zeros_like(x), warm)
    printed = mix(colour(30, 44, 84) + np.zeros_like(x), middle, step(g, 0.2, 0.28))
    printed = mix(printed, light, step(g, 0.4, 0.48))
    printed = mix(printed, colour(246, 232, 198) + np.zeros_like(x), step(g, 0.62, 0.70))
    rows = np.mgrid[: g.shape[0], : g.shape[1]][0]
    printed = f32(printed * (1 - 0.07 * (rows % 8 == 3))[..., None])
    line = ink(even_light(grey(y), 0.3), 1.2, 22.0, 0.0)
    return mix(colour(24, 26, 48) + np.zeros_like(x), printed, line)


def pixel_art(x: Plane) -> Plane:
    """8-pixel blocks (one per latent cell) of a limited bright palette."""
    height, width = x.shape[:2]
    y = saturate(levels(x, 0.9), 1.5)
    small = f32(cv2.resize(y, (width // 8, height // 8), interpolation=cv2.INTER_AREA))
    small = f32(np.clip(small + 0.8 * (small - blur(small, 1.0)), 0, 1))
    small = f32(np.round(small * 6) / 6)
    return f32(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST))


def neon(x: Plane) -> Plane:
    """Glowing tubes of light along the edges, on near black."""
    y = blur(x, 1.0)
    gx = cv2.Sobel(y, cv2.CV_32F, 1, 0, ksize=3)
    gy = cv2.Sobel(y, cv2.CV_32F, 0, 1, ksize=3)
    magnitude = np.sqrt((gx * gx + gy * gy).max(-1))
    edge = magnitude / (blur(f32(magnitude), 16.0) * 1.6 + 0.12)
    tube = step(f32(edge), 0.45, 1.3)
    angle = np.arctan2(grey(f32(gy)), grey(f32(gx)))
    phase = blur(f32(np.stack([np.cos(2 * angle) * tube, np.sin(2 * angle) * tube], -1)), 2.5)
    a = np.arctan2(phase[..., 1], phase[..., 0])[..., None]
    pink, cyan, violet = colour(255, 40, 190), colour(20, 235, 255), colour(150, 70, 255)
    w = 0.5 + 0.5 * np.cos(a)
    tint = f32(pink * (1 - w) + cyan * w) * 0.85 + violet * 0.15
    tint = mix(tint, saturate(f32(y / (y.max(-1, keepdims=True) + 0.05)), 3.0), 0.35)
    light = f32(tint * tube[..., None])
    glow = blur(light, 3.0) * 0.9 + blur(light, 9.0) * 0.8
    core = step(f32(edge), 0.9, 2.0)[..., None] * 0.55
    base = colour(8, 5, 22) + 0.10 * tint * grey(y)[..., None]
    return f32(np.clip(1 - (1 - base) * (1 - np.clip(glow, 0, 1)) * (1 - light) * (1 - core), 0, 1))


POP = np.stack([colour(*c) for c in ((40, 12, 84), (224, 24, 120), (255, 128, 24), (255, 226, 40), (96, 236, 236))])


def pop_art(x: Plane) -> Plane:
    """Screen print in five shrill colours by tone."""
    g = smooth(np.repeat(even_light(grey(levels(x)), 0.25)[..., None], 3, 2), 7, 0.15, 3.0, 2)[..., 0]
    index = quantise(np.clip(g * 1.02, 0, 1), 5, 9.0) * 4
    i = np.clip(np.floor(index), 0, 3).astype(np.int64)
    tone = mix(f32(POP[i]), f32(POP[i + 1]), f32(index - i))
    return f32(tone * (0.12 + 0.88 * ink(grey(levels(x)), 1.2, 16.0, 0.04))[..., None])


def sepia(x: Plane) -> Plane:
    """An old brown print, darker towards the corners of each tone, softly faded."""
    g = step(grey(levels(x)), -0.1, 1.1)
    return mix(colour(46, 28, 14) + np.zeros_like(x), colour(246, 226, 184) + np.zeros_like(x), g)


def blueprint(x: Plane) -> Plane:
    """White drawing lines on blue paper with a faint grid."""
    g = even_light(grey(levels(x)), 0.3)
    line = 1 - ink(g, 0.9, 17.0)
    dodge = 1 - np.power(np.clip(g / np.maximum(blur(g, 4.0), 0.05), 0, 1), 2.5)
    mark = np.clip(line * 0.9 + dodge * 0.7, 0, 1)
    rows, cols = np.mgrid[: g.shape[0], : g.shape[1]]
    grid = ((rows % 16 == 0) | (cols % 16 == 0)).astype(np.float32) * 0.13
    paper = mix(colour(16, 52, 124) + np.zeros_like(x), colour(30, 84, 170) + np.zeros_like(x), g)
    return mix(paper, colour(232, 242, 255) + np.zeros_like(x), f32(np.clip(mark + grid, 0, 1)))


STARRY = np.stack([colour(*c) for c in ((16, 26, 78), (38, 84, 168), (112, 168, 214), (236, 216, 128), (255, 224, 64))])


def van_gogh(x: Plane) -> Plane:
    """Rolling strokes in deep blue, sky blue, cream and yellow by tone, darker contours between them."""
    y = levels(x, 0.9)
    g = even_light(grey(y), 0.3)
    rows, cols = np.mgrid[: g.shape[0], : g.shape[1]]
    wave = f32(0.5 + 0.5 * np.cos(2 * np.pi * (rows + 2.2 * np.sin(2 * np.pi * cols / 16)) / 8))
    tone = np.clip(grey(kuwahara(np.repeat(g[..., None], 3, 2), 3)) + 0.15 * (wave - 0.5), 0, 1) * 4 - 0.35
    warm = blur(f32(y[..., 0] - y[..., 2]), 2.0)
    tone = np.clip(tone + 0.8 * step(warm, 0.1, 0.4), 0, 4)
    i = np.clip(np.floor(tone), 0, 3).astype(np.int64)
    paint = mix(f32(STARRY[i]), f32(STARRY[i + 1]), f32(tone - i))
    paint = paint * (0.86 + 0.28 * wave)[..., None]
    line = ink(g, 1.2, 18.0, 0.0)
    return mix(colour(14, 22, 58) + np.zeros_like(x), f32(np.clip(paint, 0, 1)), f32(0.1 + 0.9 * line))


_ALL = (
    Style(
        "photo",
        photo,
        (
            "photograph",
            "realistic photo",
            "camera picture",
            "original",
            "photorealistic",
            "real life",
            "natural",
        ),
        share=0.6,
    ),
    Style(
        "pencil sketch",
        pencil_sketch,
        ("pencil drawing", "graphite drawing", "sketch", "hand drawn sketch", "pencil", "line drawing"),
    ),
    Style(
        "oil painting",
        oil_painting,
        ("oil on canvas", "oil paint", "classical painting", "thick paint", "impasto", "painting"),
        share=1.0,
    ),
    Style(
        "watercolor",
        watercolor,
        ("watercolour", "watercolor painting", "aquarelle", "water colours", "wash painting"),
        share=1.0,
    ),
    Style(
        "comic book",
        comic_book,
        ("comic", "comics", "graphic novel", "cartoon", "superhero comic", "halftone comic"),
        share=1.5,
    ),
    Style(
        "van gogh",
        van_gogh,
        ("starry night", "vincent van gogh", "post-impressionism", "vangogh", "swirling brush strokes"),
        share=3.0,
    ),
    Style(
        "ukiyo-e",
        ukiyo_e,
        ("japanese woodblock print", "hokusai", "woodblock print", "ukiyoe", "japanese print", "hiroshige"),
        share=2.0,
    ),
    Style(
        "pixel art", pixel_art, ("8-bit", "8 bit game", "pixelated", "retro game", "pixels", "16-bit sprite"), share=3.5
    ),
    Style(
        "neon",
        neon,
        ("neon lights", "neon sign", "glowing neon", "neon glow", "cyberpunk neon", "glowing lines"),
    ),
    Style("charcoal", charcoal, ("charcoal drawing", "coal drawing", "black chalk", "charcoal sketch"), share=0.5),
    Style("pop art", pop_art, ("andy warhol", "warhol", "screen print", "popart", "silkscreen"), share=0.5),
    Style(
        "sepia photo", sepia, ("sepia", "old photograph", "vintage photo", "antique photo", "1900s photo"), share=0.4
    ),
    Style("anime", anime, ("manga", "japanese animation", "cel shading", "anime style", "animation film")),
    Style(
        "blueprint",
        blueprint,
        ("technical drawing", "cyanotype", "engineering drawing", "white lines on blue"),
        share=0.5,
    ),
)
STYLES: dict[str, Style] = {style.prompt: style for style in _ALL}
