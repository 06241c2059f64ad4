"""Training batches for the denoiser: latents, prompts, timesteps, and what the clean answer is."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .config import UnetConfig
from .data import PHOTO, Cache
from .prompts import styled, styleless
from .styles import STYLES
from .unet import Schedule


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


def style_share(timestep: Tensor) -> Tensor:
    """How much of the style a noised photograph is to get at a timestep: .35 at 50 rising smoothly to 1 at 400."""
    x = ((timestep.float() - 50) / 350).clamp(0, 1)
    return 0.35 + 0.65 * x * x * (3 - 2 * x)


class BatchMaker:
    """Draws batches from the cached latents (as far as they are filled)."""

    def __init__(self, cache: Cache, config: UnetConfig, schedule: Schedule, seed: int) -> None:
        self.cache, self.config, self.schedule = cache, config, schedule
        self.rng, self.random = np.random.default_rng(seed), Random(seed)
        self.train = set(cache.rows(held_out=False).tolist())
        self.arrays: dict[str, NDArray[Any]] = {}
        self.items: list[tuple[int, int]] = []
        self.refresh()
        self.weights = self._style_weights()

    def _style_weights(self, sample: int = 64) -> dict[str, float]:
        """Weight of a style in the loss: those that differ little from the photograph count more."""
        rows, crops = zip(*self.items[:sample], strict=True)
        index = (list(rows), list(crops))
        photo = self.arrays[PHOTO][index].astype(np.float32)
        distance = {n: float(np.abs(self.arrays[n][index] - photo).mean()) for n in STYLES if n != PHOTO}
        middle = float(np.median(list(distance.values())))
        weights = {n: float(np.clip((middle / max(d, 1e-6)) ** 0.8, 0.4, 2.5)) for n, d in distance.items()}
        return {PHOTO: 1.0, **weights}

    def refresh(self) -> None:
        """Look again at what is filled: only crops of which every style is there are used."""
        layers = list(STYLES)
        for layer in layers:
            self.arrays.setdefault(layer, self.cache.open("latents", layer))
        rows = np.min([self.cache.done("latents", layer) for layer in layers], axis=0)
        self.items = [(r, k) for k, n in enumerate(rows.tolist()) for r in range(n) if r in self.train]
        if not self.items:
            raise RuntimeError("no latents yet: run encode first")

    def _timesteps(self, count: int) -> NDArray[np.int64]:
        """Half uniform, the rest around the middle, where one-step use is commonest."""
        uniform = self.rng.uniform(10, 999, count)
        middle = np.clip(self.rng.normal(500, 140, count), 10, 999)
        return np.where(self.rng.random(count) < 0.5, uniform, middle).astype(np.int64)

    def _degrade(self, condition: Tensor, timestep: Tensor) -> Tensor:
        """Blur, noise or drop some conditions, the more often the noisier the timestep."""
        x = ((timestep.float() - 300) / 650).clamp(0, 1)
        chance = self.config.condition_drop * x * x * (3 - 2 * x)
        draw = torch.from_numpy(self.rng.random(len(timestep)))
        kind = self.rng.integers(0, 3, len(timestep))
        out = condition.clone()
        for i in torch.nonzero(draw < chance).flatten().tolist():
            one = condition[i : i + 1]
            if kind[i] == 0:
                small = F.avg_pool2d(one, 4)
                out[i] = F.interpolate(small, one.shape[-2:], mode="bilinear", align_corners=False)[0]
            elif kind[i] == 1:
                out[i] = one[0] + torch.randn_like(one[0]) * float(self.rng.uniform(0.4, 1.2))
            else:
                out[i] = 0
        return out

    def make(self, count: int, small: bool, device: torch.device) -> Batch:
        """A batch of `count`; `small` takes random quarters (half the side) of the latents.

        Quarters begin at even places, so that a screen of 16 pixels keeps its phase against the denoiser's own grid.
        """
        names, c = list(STYLES), self.config
        shares = np.array([style.share for style in STYLES.values()])
        chosen = self.rng.choice(len(names), count, p=shares / shares.sum())
        photo, base, goal = [], [], []
        prompts: list[str] = []
        share = np.zeros(count, np.float32)
        weight = np.ones(count, np.float32)
        for i in range(count):
            row, k = self.items[int(self.rng.integers(len(self.items)))]
            name = names[int(chosen[i])]
            size = self.arrays[PHOTO].shape[-1]
            y, x = (2 * int(v) for v in self.rng.integers(0, size // 4 + 1, 2)) if small else (0, 0)
            side = size // 2 if small else size
            window = (row, k, slice(None), slice(y, y + side), slice(x, x + side))
            z = self.arrays[PHOTO][window]
            styled_z = self.arrays[name][window]
            if self.rng.random() < c.prompt_dropout:
                prompts.append(styleless(self.random))
                target = z
            else:
                prompts.append(styled(STYLES[name], self.random))
                target = styled_z
                weight[i] = self.weights[name]
            if self.rng.random() >= c.noised_photo_share:
                share[i] = 1.0 if self.rng.random() < 0.65 else self.rng.random()
            photo.append(z)
            base.append(styled_z)
            goal.append(target)
        z = torch.from_numpy(np.stack(photo)).float()
        y_base = torch.from_numpy(np.stack(base)).float()
        y = torch.from_numpy(np.stack(goal)).float()
        timestep = torch.from_numpy(self._timesteps(count))
        mixed = torch.from_numpy(share)
        condition = self._degrade(z, timestep)
        z, y_base, y, timestep, mixed, condition = (t.to(device) for t in (z, y_base, y, timestep, mixed, condition))
        alpha, sigma = self.schedule.at(timestep)
        start = torch.lerp(z, y_base, mixed[:, None, None, None])
        noisy = alpha * start + sigma * torch.randn_like(start)
        wanted = torch.maximum(style_share(timestep), mixed)[:, None, None, None]
        target = torch.lerp(z, y, wanted)
        return Batch(noisy, condition, target, timestep, alpha, sigma, prompts, torch.from_numpy(weight).to(device))
