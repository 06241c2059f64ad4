"""What is measured of the exported model, on photographs and clips that training never saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from streamdiff.picture import cover

from .classifier import Judge
from .data import PHOTO, Cache, Picture, Pictures
from .moods import MOODS
from .renderer import Renderer

STEPS = (1, 2, 4)
STRENGTHS = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
NOISE = 3.0  # standard deviation of the camera noise, of 255


def recognition(render: Renderer, cache: Cache, judge: Judge, rows: list[int]) -> dict[str, Any]:
    """For each style: does the classifier name it from the output, and how far is the output from the target, by the
    classifier's features, against two baselines: the input itself, and the mean of all targets of the style; and which
    other style it is most often taken for ("" where it never is)."""
    photos = np.array(cache.open(PHOTO)[rows, 0])
    right: dict[int, list[bool]] = {steps: [] for steps in STEPS}
    distance: dict[int, list[float]] = {steps: [] for steps in STEPS}
    table: dict[str, Any] = {}
    targets_right: list[bool] = []
    for style in cache.styles:
        targets = np.array(cache.open(style)[rows, 0])
        targets_right += [judge.name(t) == style for t in targets]
        mean = np.asarray(targets.astype(np.float32).mean(0) + 0.5, dtype=np.uint8)
        for steps in STEPS:
            out = render(photos, style, steps=steps, strength=0.5)
            names = [judge.name(o) for o in out]
            named = [name == style for name in names]
            far = [judge.distance(o, t) for o, t in zip(out, targets, strict=True)]
            right[steps] += named
            distance[steps] += far
            if steps == 1:
                table[style] = {
                    "recognised": _mean(named),
                    "distance": _mean(far),
                    "of_input": _mean([judge.distance(p, t) for p, t in zip(photos, targets, strict=True)]),
                    "of_mean_target": _mean([judge.distance(mean, t) for t in targets]),
                    "taken_for": next((n for n, _ in Counter(names).most_common() if n != style), ""),
                }
    return {
        "targets_recognised": _mean(targets_right),
        "styles": table,
        "recognised_by_steps": {str(s): _mean(v) for s, v in right.items()},
        "distance_by_steps": {str(s): _mean(v) for s, v in distance.items()},
    }


def moods(render: Renderer, cache: Cache, rows: list[int], styles: tuple[str, ...]) -> dict[str, float]:
    """For each mood: how often its own target is the nearest by mean colour and contrast, among those of all moods and
    of none, over the given styles and photographs."""
    photos = np.array(cache.open(PHOTO)[rows, 0])
    hits: dict[str, list[bool]] = {name: [] for name in MOODS}
    for style in styles:
        targets = np.array(cache.open(style)[rows, 0])
        candidates = {"": [_tone(t) for t in targets]}
        candidates |= {n: [_tone(m.apply(t)) for t in targets] for n, m in MOODS.items()}
        for name in MOODS:
            out = render(photos, f"{style}, {name}")
            for i, picture in enumerate(out):
                tone = _tone(picture)
                nearest = min(candidates, key=lambda n: float(np.abs(candidates[n][i] - tone).sum()))
                hits[name].append(nearest == name)
    return {name: _mean(v) for name, v in hits.items()}


def strengths(render: Renderer, cache: Cache, rows: list[int]) -> dict[str, Any]:
    """Structure kept (correlation of the luminance's edges with the input's) and change (mean absolute difference,
    of 255) by strength, over all styles but the photograph."""
    photos = np.array(cache.open(PHOTO)[rows, 0])
    kept: dict[str, float] = {}
    change: dict[str, float] = {}
    for strength in STRENGTHS:
        pairs = [
            (p, o)
            for n in cache.styles
            if n != PHOTO
            for p, o in zip(photos, render(photos, n, strength=strength), strict=True)
        ]
        kept[str(strength)] = _mean([structure(p, o) for p, o in pairs])
        change[str(strength)] = round(float(np.mean([np.abs(p.astype(float) - o).mean() for p, o in pairs])), 2)
    return {"structure_kept": kept, "change": change}


def structure(a: Picture, b: Picture) -> float:
    """Correlation of the strength of two pictures' edges: 1 where all contours are kept, 0 where none is."""
    edges = []
    for picture in (a, b):
        g = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.5)
        edges.append(np.hypot(cv2.Sobel(g, cv2.CV_32F, 1, 0), cv2.Sobel(g, cv2.CV_32F, 0, 1)).ravel())
    return float(np.corrcoef(edges[0], edges[1])[0, 1])


def flicker(
    render: Callable[[Pictures, str], Pictures], styles: Iterable[str], sequences: dict[str, Pictures]
) -> dict[str, dict[str, float]]:
    """Mean absolute change between neighbouring output frames, as a ratio to the input's, per style and sequence.

    `render` turns frames [N, H, W, 3] into those of a style.
    """
    own = {name: frame_change(frames) for name, frames in sequences.items()}
    return {
        style: {name: round(frame_change(render(frames, style)) / own[name], 3) for name, frames in sequences.items()}
        for style in styles
    }


def still_with_noise(photo: Picture, frames: int, seed: int = 1) -> Pictures:
    """A still scene before a camera: the same picture with fresh noise in every frame."""
    rng = np.random.default_rng(seed)
    noisy = photo + rng.standard_normal((frames, *photo.shape), np.float32) * NOISE
    return np.asarray(np.clip(noisy + 0.5, 0, 255), dtype=np.uint8)


def slow_pan(photo: Picture, frames: int, pixels: float = 1.0) -> Pictures:
    """A slow pan: the picture enlarged a little, moved by some pixels a frame."""
    height, width = photo.shape[:2]
    large = cv2.resize(photo, None, fx=1.25, fy=1.25, interpolation=cv2.INTER_CUBIC)
    out = []
    for i in range(frames):
        move = np.array([[1, 0, -i * pixels], [0, 1, -0.25 * i * pixels]], np.float32)
        out.append(cv2.warpAffine(large, move, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))
    return np.asarray(np.stack(out), dtype=np.uint8)


def read_clip(path: Path, width: int, start: int, frames: int, *, height: int | None = None) -> Pictures:
    """Frames of a clip, their middle scaled to [frames, height, width, 3]; a square where no height is given."""
    out: list[Picture] = []
    with av.open(str(path)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i >= start + frames:
                break
            if i >= start:
                out.append(cover(frame.to_ndarray(format="rgb24"), width, height or width))
    return np.stack(out)


def _tone(picture: Picture) -> Pictures:
    """Mean and spread of a picture's Lab colours, [6]."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32)
    return np.concatenate([lab.mean(0), lab.std(0)])


def frame_change(frames: Pictures) -> float:
    """Mean absolute change between neighbouring frames, of 255."""
    return float(np.abs(np.diff(frames.astype(np.float32), axis=0)).mean())


def _mean(values: list[Any]) -> float:
    return round(float(np.mean(values)), 4)
