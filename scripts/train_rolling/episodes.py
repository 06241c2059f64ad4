"""Training episodes: a moving crop of a photograph or a real clip, the same in a style, and the prompt that says so."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scripts.train_tiny.data import PHOTO, Cache, Picture, Pictures
from scripts.train_tiny.moods import MOODS, Mood
from scripts.train_tiny.prompts import prompt_for, styleless

from .clips import Clips
from .config import Config
from .latents import Latents

SCREEN = 16
"""Pixels by which crops of styles with a screen move: a token's patch, two periods of the screen."""


@dataclass(frozen=True)
class Episode:
    """One video to learn from; latents are [frames, C, h, w] float32.

    Attributes:
        camera: what the camera saw, noise and all, painted where the model has that done.
        answer: what is to come out.
        text: the prompt's embedding, [1, L, D].
        level: where its blocks enter the ladder; 0: made from the prompt alone.
        weight: in the loss.
    """

    camera: Tensor
    answer: Tensor
    text: Tensor
    level: int
    weight: float


class EpisodeMaker:
    """Draws episodes from the cached pictures and clips."""

    def __init__(self, cache: Cache, clips: Clips, config: Config, latents: Latents, seed: int) -> None:
        self.cache, self.clips, self.config, self.latents = cache, clips, config.train, latents
        self.frames = config.train.blocks * config.model.block
        self.rng, self.random = np.random.default_rng(seed), Random(seed)
        names = list(cache.styles)
        self.arrays = {name: cache.open(name) for name in names}
        train = set(cache.rows(held_out=False).tolist())
        done = np.min([cache.done(name) for name in names], axis=0).tolist()
        self.items = [(r, k) for k, rows in enumerate(done) for r in range(rows) if r in train]
        shares = np.array([style.share for style in cache.styles.values()])
        self.names, self.shares = names, shares / shares.sum()
        self.weights = self._style_weights()

    def make(self) -> Episode:
        """Draw one."""
        config, rng = self.config, self.rng
        name = self.names[int(rng.choice(len(self.names), p=self.shares))]
        mood = list(MOODS.values())[int(rng.integers(len(MOODS)))] if rng.random() < config.mood_share else None
        styled = rng.random() >= config.prompt_dropout
        level = int(rng.choice(len(config.level_shares), p=np.array(config.level_shares)))
        real = len(self.clips) > 0 and name in self.clips.arrays and rng.random() < config.clip_share
        size = config.sizes[int(rng.integers(len(config.sizes)))]
        mood = mood if styled else None
        given, wanted = (self._clip if real else self._moving)(name if styled else PHOTO, name, mood, size)
        camera = self.latents.encode(self._camera(given))
        answer = self.latents.encode(wanted)
        share = config.level_style[level] if styled else 1.0
        if share < 1:
            answer = torch.lerp(self.latents.encode(given), answer, share)
        prompt = prompt_for(self.cache.styles[name], mood, self.random) if styled else styleless(self.random)
        if level == 0:
            camera = torch.zeros_like(camera)
        else:
            camera = self.latents.paint(camera, prompt, level, self.random.randrange(2**31))
        weight = self.weights[name] if styled else 1.0
        return Episode(camera, answer, self.latents.embed([prompt]), level, weight)

    def _camera(self, frames: Pictures) -> Pictures:
        """The frames as a camera would show them: half of the episodes with noise, which the answer is not to have."""
        if self.rng.random() < 0.5:
            return frames
        noise = self.rng.standard_normal(frames.shape, np.float32) * np.float32(self.rng.uniform(0.5, 7.0))
        return np.asarray(np.clip(frames + noise + 0.5, 0, 255), dtype=np.uint8)

    def _moving(self, style: str, drawn: str, mood: Mood | None, size: tuple[int, int]) -> tuple[Pictures, Pictures]:
        """A camera that pans and zooms over a photograph, and over its stylised picture."""
        item = self.items[int(self.rng.integers(len(self.items)))]
        given, wanted = np.array(self.arrays[PHOTO][item]), np.array(self.arrays[style][item])
        if mood is not None:
            wanted = mood.apply(wanted)
        screen = self.cache.styles[drawn].screen
        path = self._path(given.shape[0], size, screen=screen)
        flip = not screen and self.rng.random() < 0.5
        return _follow(given, path, size, flip=flip), _follow(wanted, path, size, flip=flip)

    def _clip(self, style: str, drawn: str, mood: Mood | None, size: tuple[int, int]) -> tuple[Pictures, Pictures]:
        """A crop of a segment of a real clip, forwards or backwards."""
        del drawn
        index = int(self.rng.integers(len(self.clips)))
        given, wanted = (self.clips.arrays[name][index] for name in (PHOTO, style))
        (width, height), (rows, columns) = size, given.shape[1:3]
        y, x = (int(self.rng.integers(free // SCREEN + 1)) * SCREEN for free in (rows - height, columns - width))
        begin = int(self.rng.integers(len(given) - self.frames + 1))
        step = 1 if self.rng.random() < 0.5 else -1
        window = (slice(begin, begin + self.frames), slice(y, y + height), slice(x, x + width))
        given, wanted = np.array(given[window][::step]), np.array(wanted[window][::step])
        return given, wanted if mood is None else np.stack([mood.apply(frame) for frame in wanted])

    def _path(self, side: int, size: tuple[int, int], *, screen: bool) -> NDArray[np.float64]:
        """[frames, 3]: left, top and scale of the crop in each frame; a still camera, a pan, a zoom or both."""
        rng, config, count = self.rng, self.config, self.frames
        still = rng.random() < config.still_share
        zoom = np.ones(count)
        if not still and not screen and rng.random() < config.zoom_share:
            largest = side / max(size)
            ends = 1 + (min(largest, 1.4) - 1) * rng.random(2)
            zoom = np.linspace(ends[0], ends[1], count)
        room = side - np.array(size) * zoom[:, None]
        if still:
            speed = np.zeros(2)
        elif screen:
            speed = np.array([SCREEN / 2, 0.0]) * rng.choice([-1, 1])
        else:
            angle = rng.uniform(0, 2 * np.pi)
            speed = config.speed * rng.random() ** 2 * np.array([np.cos(angle), np.sin(angle)])
        corner = rng.random(2) * room[0] + np.arange(count)[:, None] * speed
        # Turning back at the picture's edges.
        width = np.maximum(room, 1e-6)
        corner = width - np.abs(np.mod(corner, 2 * width) - width)
        if screen:
            corner = np.floor(corner / SCREEN) * SCREEN
        elif not np.ptp(zoom):
            corner = np.round(corner)
        return np.concatenate([np.minimum(corner, room), zoom[:, None]], axis=1)

    def _style_weights(self, sample: int = 8) -> dict[str, float]:
        """Weight of a style in the loss: those that differ little from the photograph count more."""
        chosen = self.items[:sample]
        latents = {n: self.latents.encode(np.stack([self.arrays[n][i] for i in chosen])) for n in self.names}
        far = {n: float((v - latents[PHOTO]).abs().mean()) for n, v in latents.items() if n != PHOTO}
        middle = float(np.median(list(far.values())))
        return {PHOTO: 1.0, **{n: float(np.clip((middle / max(d, 1e-6)) ** 0.8, 0.4, 2.5)) for n, d in far.items()}}


def _follow(picture: Picture, path: NDArray[np.float64], size: tuple[int, int], *, flip: bool) -> Pictures:
    """The crops along a path, [frames, H, W, 3]."""
    width, height = size
    frames: list[Picture] = []
    for left, top, scale in path.tolist():
        if scale == 1:
            x, y = int(left), int(top)
            crop = picture[y : y + height, x : x + width]
        else:
            move = np.array([[scale, 0, left], [0, scale, top]], np.float32)
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            crop = cv2.warpAffine(picture, move, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
        frames.append(crop[:, ::-1] if flip else crop)
    return np.asarray(np.stack(frames), dtype=np.uint8)
