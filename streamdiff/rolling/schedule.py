"""Ladder: the noise levels that a block of frames visits, and flow matching's two formulas (ALGORITHMS 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from streamdiff.errors import ConfigError

STEPS = (1000, 800, 600, 400, 200)
"""Denoising steps of the released Rolling Forcing model, before they are warped."""
SHIFT = 5.0
"""Its warp."""


@dataclass(frozen=True)
class Ladder:
    """Noise levels, the noisiest first; index i is level i.

    Attributes:
        timesteps: falling, in (0, train_steps]; what the model is told.
        train_steps: the timestep of pure noise.
    """

    timesteps: tuple[float, ...]
    train_steps: int = 1000

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in pairwise(self.timesteps))
        if not self.timesteps or not falling or not 0 < self.timesteps[-1] <= self.timesteps[0] <= self.train_steps:
            raise ConfigError(
                f"timesteps {', '.join(f'{t:g}' for t in self.timesteps) or '(none)'}: they must fall, "
                f"from {self.train_steps} at most to above 0"
            )

    def __len__(self) -> int:
        return len(self.timesteps)

    def sigma(self, level: int) -> float:
        """Share of noise at a level, in (0, 1]."""
        return self.timesteps[level] / self.train_steps


def make_ladder(steps: Sequence[int] = STEPS, shift: float = SHIFT, train_steps: int = 1000) -> Ladder:
    """Warp steps by a shift: sigma' = shift sigma / (1 + (shift - 1) sigma) (SD3, arXiv 2403.03206, section 5.3.2).

    In float32, as the models were trained: their timesteps are those numbers to the last bit.

    Raises:
        ConfigError: the steps do not fall, or lie outside 1 .. train_steps.
    """
    sigma = torch.tensor(steps, dtype=torch.float32) / train_steps
    warped = shift * sigma / (1 + (shift - 1) * sigma) * train_steps
    return Ladder(tuple(float(t) for t in warped), train_steps)


def add_noise(sigma: float, clean: Tensor, noise: Tensor) -> Tensor:
    """x_t = (1 - sigma) x_0 + sigma epsilon."""
    return (1 - sigma) * clean + sigma * noise


def predict_clean(sigma: Tensor, x: Tensor, flow: Tensor) -> Tensor:
    """x_0 = x_t - sigma flow, computed as exactly as sigma is given.

    Args:
        sigma: float64 where the device has it, one for each frame, [F].
        x: [F, C, h, w] float32.
        flow: the model's prediction, of x's shape.

    Returns:
        float32 of x's shape.
    """
    exact = sigma.dtype
    return (x.to(exact) - sigma[:, None, None, None] * flow.to(exact)).float()
