"""Moods: light and colour that go with any style. Each is a filter of the finished picture, and the words for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .data import Picture
from .filters import Plane, blur, colour, f32, flat, grey, mix, palette, saturate, step, tones


@dataclass(frozen=True)
class Mood:
    """A mood: filter on float RGB in 0..1, and its wordings (the first is its name)."""

    name: str
    filter: Callable[[Plane], Plane]
    synonyms: tuple[str, ...]

    def apply(self, picture: Picture) -> Picture:
        """uint8 RGB [H, W, 3] -> the same in this mood."""
        out = self.filter(f32(picture) / 255)
        return np.asarray(np.clip(out, 0, 1) * 255 + 0.5, dtype=np.uint8)


def _night(x: Plane) -> Plane:
    dim = np.power(x, 1.1)
    return f32(mix(f32(dim), grey(f32(dim))[..., None], 0.45) * colour(88, 118, 204) + colour(2, 5, 20))


def _warm(x: Plane) -> Plane:
    return f32(np.clip(np.power(x, 0.94) * colour(272, 226, 158), 0, 1))


def _cold(x: Plane) -> Plane:
    return f32(np.clip(saturate(x, 0.8) * colour(176, 222, 282) + colour(0, 4, 14), 0, 1))


SUNSET = palette((44, 16, 66), (150, 42, 88), (242, 106, 56), (255, 190, 92), (255, 240, 190))


def _sunset(x: Plane) -> Plane:
    return mix(f32(np.clip(x * colour(270, 190, 150), 0, 1)), tones(grey(x), SUNSET), 0.62)


def _fog(x: Plane) -> Plane:
    return mix(saturate(blur(x, 0.8), 0.45), flat(x, colour(206, 212, 216)), 0.62)


def _dramatic(x: Plane) -> Plane:
    g = grey(x)
    light = step(f32(0.5 * g + 0.5 * blur(g, 8.0)), 0.18, 0.72)
    return f32(np.clip(x * (0.12 + 1.15 * light)[..., None], 0, 1))


def _pastel(x: Plane) -> Plane:
    return f32(np.clip(mix(saturate(x, 1.1), np.ones_like(x), 0.52) * colour(255, 248, 250), 0, 1))


def _vivid(x: Plane) -> Plane:
    return saturate(f32(np.clip((x - 0.5) * 1.2 + 0.52, 0, 1)), 2.4)


def _monochrome(x: Plane) -> Plane:
    return f32(np.repeat(grey(x)[..., None], 3, 2))


def _dark(x: Plane) -> Plane:
    return f32(np.power(x, 1.25) * 0.42)


_ALL = (
    Mood("at night", _night, ("night", "moonlight", "by night", "in the moonlight", "midnight", "nocturnal")),
    Mood("warm light", _warm, ("warm", "candlelight", "warm colors", "golden light", "cozy light", "lamp light")),
    Mood("cold light", _cold, ("cold", "cool colors", "winter light", "icy", "blue light", "cold colors", "frozen")),
    Mood("at sunset", _sunset, ("sunset", "golden hour", "evening light", "dusk", "sunrise", "at dawn")),
    Mood("in fog", _fog, ("fog", "foggy", "misty", "mist", "hazy", "in the mist")),
    Mood("dramatic light", _dramatic, ("dramatic", "chiaroscuro", "high contrast", "spotlight", "moody", "film noir")),
    Mood("pastel colors", _pastel, ("pastel", "soft colors", "pale", "faded", "washed out", "light colours", "dreamy")),
    Mood("vivid colors", _vivid, ("vivid", "colorful", "saturated", "bright colours", "vibrant", "colourful")),
    Mood("black and white", _monochrome, ("monochrome", "b&w", "greyscale", "grayscale", "without colour", "grey")),
    Mood("dark", _dark, ("dim", "gloomy", "in the dark", "low light", "shadowy", "darkness")),
)
MOODS: dict[str, Mood] = {mood.name: mood for mood in _ALL}
