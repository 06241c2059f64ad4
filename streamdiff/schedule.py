"""Schedules: which timesteps a frame visits, and the numbers that belong to each. Pure functions.

Formulas: Latent Consistency Models (arXiv 2310.04378, section 4 and its boundary scalings) as diffusers' LCMScheduler
has them; ALGORITHMS 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from streamdiff.config import StreamConfig
from streamdiff.errors import ConfigError
from streamdiff.models.base import Prediction

SIGMA_DATA = 0.5
TIMESTEP_SCALING = 10.0


@dataclass(frozen=True)
class Plan:
    """The timesteps of a frame's way and their constants; index i is slot i.

    Attributes:
        timesteps: falling, tau_0 > tau_1 > ...
        alpha: sqrt(alphas_cumprod[tau_i]).
        sigma: sqrt(1 - alphas_cumprod[tau_i]).
        c_skip, c_out: boundary scalings of the consistency function.
        prediction: what the UNet predicts.
    """

    timesteps: tuple[int, ...]
    alpha: tuple[float, ...]
    sigma: tuple[float, ...]
    c_skip: tuple[float, ...]
    c_out: tuple[float, ...]
    prediction: Prediction

    def __len__(self) -> int:
        return len(self.timesteps)


def strength_timesteps(strength: float, steps: int, train_steps: int = 1000) -> tuple[int, ...]:
    """LCM's image-to-image timesteps, without its grid of 50: tau_i = strength T (n - i) / n - 1.

    Args:
        strength: in (0, 1].
        steps: n >= 1.
        train_steps: T.

    Returns:
        n falling timesteps in 0 .. T-1. A strength too small to hold n different ones is raised to the least that does.
    """
    last = max(steps, round(strength * train_steps))
    return tuple(round(last * (steps - i) / steps) - 1 for i in range(steps))


def make_plan(timesteps: Sequence[int], alphas_cumprod: Tensor, prediction: Prediction) -> Plan:
    """Compute a plan's constants in float64.

    Args:
        timesteps: falling, each in 0 .. T-1.
        alphas_cumprod: [T].
        prediction: what the UNet predicts.

    Raises:
        ConfigError: a timestep beyond the model's training schedule.
    """
    train_steps = len(alphas_cumprod)
    if max(timesteps) >= train_steps:
        raise ConfigError(f"timesteps: this model was trained on 0 to {train_steps - 1}, given {max(timesteps)}")
    products = [float(alphas_cumprod[t].double()) for t in timesteps]
    scaled = [(t * TIMESTEP_SCALING) ** 2 for t in timesteps]
    return Plan(
        timesteps=tuple(timesteps),
        alpha=tuple(p**0.5 for p in products),
        sigma=tuple((1 - p) ** 0.5 for p in products),
        c_skip=tuple(SIGMA_DATA**2 / (s + SIGMA_DATA**2) for s in scaled),
        c_out=tuple((s / (s + SIGMA_DATA**2)) ** 0.5 for s in scaled),
        prediction=prediction,
    )


def plan_of(config: StreamConfig, alphas_cumprod: Tensor, prediction: Prediction) -> Plan:
    """The plan that a configuration asks for: its raw timesteps, or those of its strength and steps."""
    timesteps = config.timesteps
    if timesteps is None:
        timesteps = strength_timesteps(config.strength, config.steps, len(alphas_cumprod))
    return make_plan(timesteps, alphas_cumprod, prediction)


def add_noise(plan: Plan, i: int, clean: Tensor, noise: Tensor) -> Tensor:
    """x_i = alpha_i clean + sigma_i noise; clean [F, C, h, w], noise [C, h, w]."""
    return plan.alpha[i] * clean + plan.sigma[i] * noise


def to_epsilon(plan: Plan, i: int, x: Tensor, prediction: Tensor) -> Tensor:
    """The UNet's prediction as noise.

    Itself, or for v-prediction alpha v + sigma x (arXiv 2202.00512, appendix D), or for the clean sample
    (x - alpha prediction) / sigma.
    """
    if plan.prediction == "epsilon":
        return prediction
    if plan.prediction == "sample":
        return (x - plan.alpha[i] * prediction) / plan.sigma[i]
    return plan.alpha[i] * prediction + plan.sigma[i] * x


def predict_clean(plan: Plan, i: int, x: Tensor, epsilon: Tensor) -> Tensor:
    """The consistency function: c_out (x - sigma epsilon) / alpha + c_skip x."""
    clean = (x - plan.sigma[i] * epsilon) / plan.alpha[i]
    return plan.c_out[i] * clean + plan.c_skip[i] * x


def slot_noise(seed: int, plan: Plan, shape: Sequence[int]) -> Tensor:
    """One fixed noise tensor for each slot, [n, C, h, w] float32 on the CPU, from the seed alone.

    Slot i's noise does not depend on the number of slots, so that a change of plan keeps what it can.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randn(tuple(shape), generator=generator) for _ in range(len(plan))])
