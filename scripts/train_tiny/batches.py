"""Training batches for the denoiser: pictures, prompts, timesteps, and what the clean answer is."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .config import UnetConfig
from .data import CELL, PHOTO, Cache, Picture, Pictures, coarse
from .loop import mixed_precision
from .moods import MOODS
from .prompts import prompt_for, styleless
from .unet import Schedule
from .vae import FoldedVae


@dataclass
class Batch:
    """One batch. Latents are [N, C, h, w] float32."""

    noisy: Tensor
    condition: Tensor
    target: Tensor
    timestep: Tensor
    alpha: Tensor
    sigma: Tensor
    prompts: list[str]
    weight: Tensor


@dataclass
class _Sample:
    """What one sample is made of, as uint8 pictures of the same crop."""

    photo: Picture
    styled: Picture
    coarse: Picture | None
    prompt: str
    names_style: bool
    weight: float


def style_share(timestep: Tensor) -> Tensor:
    """How much of the style a noised photograph is to get at a timestep: .35 at 50 rising smoothly to 1 at 400."""
    return 0.35 + 0.65 * _smooth((timestep.float() - 50) / 350)


def coarse_share(timestep: Tensor) -> Tensor:
    """How much of the abstracted picture's style it is to get: 0 up to 520, rising smoothly to 1 at 950."""
    return _smooth((timestep.float() - 520) / 430)


def _smooth(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


class BatchMaker:
    """Draws batches from the cached pictures (as far as they are filled), and encodes them."""

    def __init__(self, cache: Cache, config: UnetConfig, schedule: Schedule, vae: FoldedVae, seed: int) -> None:
        self.cache, self.config, self.schedule, self.vae = cache, config, schedule, vae
        self.device = schedule.alpha.device
        self.rng, self.random = np.random.default_rng(seed), Random(seed)
        self.train = set(cache.rows(held_out=False).tolist())
        self.arrays: dict[str, Pictures] = {}
        self.items: list[tuple[int, int]] = []
        self.coarse_rows = 0
        self.refresh()
        self.weights = self._style_weights()

    def refresh(self) -> None:
        """Look again at what is filled: only crops of which every style is there are used."""
        styles = [n for n in self.cache.styles if n != PHOTO]
        for layer in (*self.cache.styles, *(coarse(n) for n in styles)):
            if layer not in self.arrays and any(self.cache.done(layer)):
                self.arrays[layer] = self.cache.open(layer)
        rows = np.min([self.cache.done(layer) for layer in self.cache.styles], axis=0)
        self.items = [(r, k) for k, n in enumerate(rows.tolist()) for r in range(n) if r in self.train]
        self.coarse_rows = min(self.cache.done(coarse(n))[0] for n in styles)
        if not self.items:
            raise RuntimeError("no stylised pictures yet: run prepare first")

    def encode(self, pictures: list[Picture]) -> Tensor:
        """uint8 pictures of one size -> latents [N, C, h, w] float32."""
        batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        batch = batch.to(self.device, memory_format=torch.channels_last).float() / 127.5 - 1
        with torch.no_grad(), mixed_precision(self.device):
            return self.vae.encode(batch).float().contiguous()

    def _style_weights(self, sample: int = 12) -> dict[str, float]:
        """Weight of a style in the loss: those that differ little from the photograph count more."""
        chosen = self.items[:sample]
        photo = self.encode([np.array(self.arrays[PHOTO][i]) for i in chosen])
        names = [n for n in self.cache.styles if n != PHOTO]
        latents = {n: self.encode([np.array(self.arrays[n][i]) for i in chosen]) for n in names}
        distance = {n: float((v - photo).abs().mean()) for n, v in latents.items()}
        middle = float(np.median(list(distance.values())))
        weights = {n: float(np.clip((middle / max(d, 1e-6)) ** 0.8, 0.4, 2.5)) for n, d in distance.items()}
        return {PHOTO: 1.0, **weights}

    def _timesteps(self, count: int) -> NDArray[np.int64]:
        """Half uniform, the rest around the middle, where one-step use is commonest."""
        uniform = self.rng.uniform(10, 999, count)
        middle = np.clip(self.rng.normal(500, 140, count), 10, 999)
        return np.where(self.rng.random(count) < 0.5, uniform, middle).astype(np.int64)

    def _crop(self, pictures: list[Picture], side: int, screen: bool) -> list[Picture]:
        """The same random crop of every picture; flipped half of the time, unless there is a screen."""
        size = pictures[0].shape[0]
        grid = CELL if screen else 1
        y, x = (int(v) * grid for v in self.rng.integers(0, (size - side) // grid + 1, 2))
        cropped = [p[y : y + side, x : x + side] for p in pictures]
        return cropped if screen or self.rng.random() < 0.5 else [p[:, ::-1] for p in cropped]

    def _camera(self, picture: Picture) -> Picture:
        """The photograph as a camera would show it: half of them with noise, which the answer is not to have."""
        if self.rng.random() < 0.5:
            return picture
        noise = self.rng.standard_normal(picture.shape, np.float32) * np.float32(self.rng.uniform(0.5, 7.0))
        return np.asarray(np.clip(picture + noise + 0.5, 0, 255), dtype=np.uint8)

    def _sample(self, name: str, timestep: int, side: int) -> _Sample:
        """Draw a photograph and a prompt for a style."""
        row, k = self.items[int(self.rng.integers(len(self.items)))]
        pictures = [self.arrays[PHOTO][row, k], self.arrays[name][row, k]]
        wanted = timestep > 520 or self.rng.random() < 0.15
        if name != PHOTO and wanted and k == 0 and row < self.coarse_rows:
            pictures.append(self.arrays[coarse(name)][row, 0])
        cropped = self._crop(pictures, side, self.cache.styles[name].screen)
        photo, styled = np.array(cropped[0]), np.array(cropped[1])
        abstracted = np.array(cropped[2]) if len(cropped) > 2 else None
        if self.rng.random() < self.config.prompt_dropout:
            return _Sample(self._camera(photo), styled, None, styleless(self.random), False, 1.0)
        mood = None
        if self.rng.random() < self.config.mood_share:
            mood = list(MOODS.values())[int(self.rng.integers(len(MOODS)))]
            styled = mood.apply(styled)
            abstracted = None if abstracted is None else mood.apply(abstracted)
        prompt = prompt_for(self.cache.styles[name], mood, self.random)
        return _Sample(self._camera(photo), styled, abstracted, prompt, True, self.weights[name])

    def _degrade(self, condition: Tensor, timestep: Tensor) -> Tensor:
        """Blur, noise or drop some conditions, the more often the noisier the timestep."""
        chance = self.config.condition_drop * _smooth((timestep.float() - 300) / 650)
        draw = torch.from_numpy(self.rng.random(len(timestep)))
        kind = self.rng.integers(0, 3, len(timestep))
        out = condition.clone()
        for i in torch.nonzero(draw < chance.cpu()).flatten().tolist():
            one = condition[i : i + 1]
            if kind[i] == 0:
                small = F.avg_pool2d(one, 4)
                out[i] = F.interpolate(small, one.shape[-2:], mode="bilinear", align_corners=False)[0]
            elif kind[i] == 1:
                out[i] = one[0] + torch.randn_like(one[0]) * float(self.rng.uniform(0.4, 1.2))
            else:
                out[i] = 0
        return out

    def make(self, count: int, side: int) -> Batch:
        """A batch of `count` crops of `side` pixels."""
        c, device = self.config, self.device
        names = list(self.cache.styles)
        shares = np.array([style.share for style in self.cache.styles.values()])
        times = self._timesteps(count)
        chosen = self.rng.choice(len(names), count, p=shares / shares.sum())
        samples = [self._sample(names[int(i)], int(t), side) for i, t in zip(chosen, times, strict=True)]
        with_coarse = [i for i, s in enumerate(samples) if s.coarse is not None]
        latents = self.encode(
            [s.photo for s in samples]
            + [s.styled for s in samples]
            + [s.coarse for s in samples if s.coarse is not None]
        )
        z, fine = latents[:count], latents[count : 2 * count]
        abstracted = fine.clone()
        abstracted[with_coarse] = latents[2 * count :]
        share, rough = np.zeros((2, count), np.float32)
        for i in range(count):
            if self.rng.random() >= c.noised_photo_share:  # a later step: what comes in is stylised already
                share[i] = 1.0 if self.rng.random() < 0.65 else self.rng.random()
                rough[i] = self.rng.random() if self.rng.random() < 0.5 else 0.0
        named = torch.tensor([s.names_style for s in samples], device=device)[:, None, None, None]
        timestep = torch.from_numpy(times).to(device)
        mixed = torch.from_numpy(share).to(device)[:, None, None, None]
        roughness = torch.from_numpy(rough).to(device)[:, None, None, None]
        start = torch.lerp(z, torch.lerp(fine, abstracted, roughness), mixed)
        alpha, sigma = self.schedule.at(timestep)
        noisy = alpha * start + sigma * torch.randn_like(start)
        roughness = torch.maximum(roughness * mixed, coarse_share(timestep)[:, None, None, None])
        styled = torch.where(named, torch.lerp(fine, abstracted, roughness), z)
        wanted = torch.maximum(style_share(timestep)[:, None, None, None], mixed)
        target = torch.lerp(z, styled, wanted)
        weight = torch.tensor([s.weight for s in samples], device=device)
        prompts = [s.prompt for s in samples]
        return Batch(noisy, self._degrade(z, timestep), target, timestep, alpha, sigma, prompts, weight)
