"""Building blocks of the style filters. Pictures are float32 RGB [H, W, 3] in 0..1, planes [H, W]."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]


def f32(value: object) -> Plane:
    """As a float32 array."""
    return np.asarray(value, dtype=np.float32)


def grey(x: Plane) -> Plane:
    """Luminance [H, W]."""
    return f32(x @ np.array([0.299, 0.587, 0.114], dtype=np.float32))


def blur(x: Plane, sigma: float) -> Plane:
    """Gaussian blur, `sigma` in pixels."""
    return f32(cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REFLECT))


def step(x: Plane, low: float, high: float) -> Plane:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return f32(t * t * (3 - 2 * t))


def mix(a: Plane, b: Plane, weight: Plane | float) -> Plane:
    """a where the weight is 0, b where it is 1; a plane of weights is spread over the channels."""
    w = f32(weight)
    if w.ndim == 2:
        w = w[..., None]
    return f32(a * (1 - w) + b * w)


def colour(*rgb: int) -> Plane:
    """An RGB colour given in 0..255, as [3] in 0..1."""
    return f32(np.array(rgb) / 255.0)


def saturate(x: Plane, factor: float) -> Plane:
    """Multiply the distance from grey."""
    g = grey(x)[..., None]
    return f32(np.clip(g + (x - g) * factor, 0, 1))


def levels(x: Plane, strength: float = 1.0) -> Plane:
    """Stretch the luminance so that its 2nd and 98th percentile reach near black and white."""
    low, high = np.percentile(grey(x), (2, 98))
    gain = 0.92 / max(0.25, float(high - low))
    return mix(x, f32(np.clip((x - low) * gain + 0.04, 0, 1)), strength)


def even_light(g: Plane, strength: float = 0.6) -> Plane:
    """Luminance with its large-scale light evened out, so that faces in shade stay readable."""
    low = blur(g, 24.0)
    return f32(np.clip(g + strength * (0.55 - low), 0, 1))


def ink(g: Plane, sigma: float = 1.0, sharp: float = 18.0, threshold: float = 0.0, soft: float = 14.0) -> Plane:
    """Ink lines by an extended difference of Gaussians: 1 = paper, 0 = ink."""
    fine, coarse = blur(g, sigma), blur(g, sigma * 1.6)
    d = fine - coarse
    return f32(np.clip(1 + np.tanh(np.minimum(0, (d * sharp + 0.28 - threshold)) * soft / 4), 0, 1))


def quantise(x: Plane, count: int, hardness: float = 6.0) -> Plane:
    """Soft posterisation to `count` levels: flat in between, with short ramps at the borders."""
    scaled = x * (count - 1)
    base = np.floor(scaled)
    fraction = scaled - base
    ramp = 0.5 + 0.5 * np.tanh((fraction - 0.5) * hardness) / np.tanh(0.5 * hardness)
    return f32((base + ramp) / (count - 1))


def kuwahara(x: Plane, radius: int) -> Plane:
    """Kuwahara filter with four quadrants, blended by their variances: painted-looking flat patches, sharp edges."""
    size = radius + 1
    g = grey(x)
    mean = f32(cv2.boxFilter(x, -1, (size, size), anchor=(0, 0), borderType=cv2.BORDER_REFLECT))
    m1 = f32(cv2.boxFilter(g, -1, (size, size), anchor=(0, 0), borderType=cv2.BORDER_REFLECT))
    m2 = f32(cv2.boxFilter(g * g, -1, (size, size), anchor=(0, 0), borderType=cv2.BORDER_REFLECT))
    variance = np.maximum(m2 - m1 * m1, 0)
    height, width = g.shape
    total = np.zeros_like(x)
    weight = np.zeros((height, width, 1), np.float32)
    padded_mean = np.pad(mean, ((radius, 0), (radius, 0), (0, 0)), mode="edge")
    padded_var = np.pad(variance, ((radius, 0), (radius, 0)), mode="edge")
    for dy in (0, radius):
        for dx in (0, radius):
            w = f32(1.0 / (1e-5 + padded_var[dy : dy + height, dx : dx + width]) ** 2)[..., None]
            total += padded_mean[dy : dy + height, dx : dx + width] * w
            weight += w
    return f32(total / weight)


def abstract(x: Plane) -> Plane:
    """Only the large shapes of a picture, with clear edges: what a style is given at full strength."""
    y = kuwahara(kuwahara(x, 6), 5)
    return f32(np.clip(y + 0.6 * (y - blur(y, 2.0)), 0, 1))


def smooth(x: Plane, diameter: int, tone: float, space: float, rounds: int = 1) -> Plane:
    """Bilateral filter, repeated."""
    for _ in range(rounds):
        x = f32(cv2.bilateralFilter(x, diameter, tone, space))
    return x


def relief(g: Plane, strength: float) -> Plane:
    """Light from the upper left on a surface whose height is the luminance: [H, W], around 0."""
    fine = blur(g, 0.7)
    gx = cv2.Sobel(fine, cv2.CV_32F, 1, 0, ksize=3)
    gy = cv2.Sobel(fine, cv2.CV_32F, 0, 1, ksize=3)
    return f32(np.clip((gx + gy) * strength, -0.2, 0.2))


def hatching(shape: tuple[int, ...], period: int = 8, rising: bool = True) -> Plane:
    """Diagonal stripes as a triangle wave 0..1; the period fits the latent grid, so that a network can learn them."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    phase = ((x + y) if rising else (x - y)) % period
    return f32(np.abs(phase / period * 2 - 1))


def dots(shape: tuple[int, ...], period: int = 8) -> Plane:
    """A staggered dot screen as a height 0..1 (1 in the centres), aligned to the latent grid."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    a = 2 * np.pi * (x + y) / period
    b = 2 * np.pi * (x - y) / period
    return f32(0.5 + 0.25 * (np.cos(a) + np.cos(b)))


def streaks(g: Plane, degrees: float, length: int = 11, gain: float = 3.0) -> Plane:
    """The picture's own fine detail drawn out into strokes of one direction: [H, W], around 0.

    The strokes come from the photograph and not from chance, so that a network can learn them and they stay where the
    picture stays.
    """
    detail = g - blur(g, 2.0)
    drawn = cv2.filter2D(detail, -1, line_kernel(degrees, length), borderType=cv2.BORDER_REFLECT)
    return f32(np.clip(drawn * gain, -0.5, 0.5))


def line_kernel(degrees: float, length: int) -> Plane:
    """A line through the middle of a [length, length] kernel, sum 1; 0 degrees is horizontal, angles rise upwards."""
    kernel = np.zeros((length, length), np.float32)
    middle, reach = (length - 1) / 2, (length - 1) / 2
    dx, dy = np.cos(np.radians(degrees)) * reach, -np.sin(np.radians(degrees)) * reach
    ends = [(round((middle - dx) * 8), round((middle - dy) * 8)), (round((middle + dx) * 8), round((middle + dy) * 8))]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, 3)
    return f32(kernel / kernel.sum())


def along(x: Plane, g: Plane, length: int = 11, directions: int = 8) -> Plane:
    """Blur a picture along its edges (the direction of least change, by the structure tensor of `g`)."""
    fine = blur(g, 1.0)
    gx, gy = cv2.Sobel(fine, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(fine, cv2.CV_32F, 0, 1, ksize=3)
    tensor = blur(np.stack([gx * gx - gy * gy, 2 * gx * gy], -1), 3.0)
    # Of the edge, clockwise in picture coordinates.
    angle = 0.5 * np.arctan2(tensor[..., 1], tensor[..., 0]) + np.pi / 2
    total = np.zeros_like(x)
    weights = np.zeros((*g.shape, 1), np.float32)
    for i in range(directions):
        turn = np.pi * i / directions
        weight = f32(np.maximum(np.cos(angle - turn) ** 2, 1e-3) ** 12)[..., None]
        kernel = line_kernel(-float(np.degrees(turn)), length)
        total += cv2.filter2D(x, -1, kernel, borderType=cv2.BORDER_REFLECT).reshape(x.shape) * weight
        weights += weight
    return f32(total / weights)


def tones(x: Plane, palette: Plane) -> Plane:
    """A plane of tones 0..1 [H, W] as colours of a palette [N, 3], with straight ramps between them."""
    place = np.clip(x, 0, 1) * (len(palette) - 1)
    i = np.clip(np.floor(place), 0, len(palette) - 2).astype(np.int64)
    return mix(f32(palette[i]), f32(palette[i + 1]), f32(place - i))


def palette(*colours: tuple[int, int, int]) -> Plane:
    """Colours given in 0..255 as [N, 3] in 0..1."""
    return np.stack([colour(*c) for c in colours])


def cells(x: Plane, size: int = 8) -> Plane:
    """Each block of `size` pixels filled with its mean colour."""
    height, width = x.shape[:2]
    small = cv2.resize(x, (width // size, height // size), interpolation=cv2.INTER_AREA)
    return f32(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST).reshape(x.shape))


def in_cell(shape: tuple[int, ...], size: int = 8) -> tuple[Plane, Plane]:
    """Row and column within the block of `size` pixels, 0..1 (exclusive)."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return f32((rows % size + 0.5) / size), f32((cols % size + 0.5) / size)


def flat(x: Plane, rgb: Plane) -> Plane:
    """A plain picture of one colour, of the shape of `x`."""
    return f32(np.broadcast_to(rgb, x.shape))
