"""The training schedule from a scheduler's configuration, without importing a scheduler."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from streamdiff.errors import ModelError

MOST = 100_000
"""Most training steps that are believed."""


def alphas_cumprod(config: Mapping[str, Any]) -> Tensor:
    """Products of 1 - beta, float32 [T], as diffusers' schedulers compute them (in float32).

    Args:
        config: ``scheduler_config.json``; beta_schedule linear, scaled_linear or squaredcos_cap_v2.

    Raises:
        ModelError: another beta schedule, or numbers that make none.
    """
    try:
        betas = _betas(config)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        betas = torch.zeros(0)
    if not len(betas) or not bool(((betas > 0) & (betas < 1)).all()):
        names = ("num_train_timesteps", "beta_start", "beta_end", "trained_betas")
        given = ", ".join(f"{name} {str(config[name])[:40]}" for name in names if config.get(name) is not None)
        raise ModelError(f"the scheduler's numbers make no schedule of betas between 0 and 1 ({given})")
    products = torch.cumprod(1.0 - betas, dim=0)
    return _zero_terminal_snr(products) if config.get("rescale_betas_zero_snr") else products


def _betas(config: Mapping[str, Any]) -> Tensor:
    if config.get("trained_betas") is not None:
        return torch.tensor(cast("list[float]", config["trained_betas"]), dtype=torch.float32).reshape(-1)
    count = int(config.get("num_train_timesteps", 1000))
    start, end = float(config.get("beta_start", 0.0001)), float(config.get("beta_end", 0.02))
    schedule = str(config.get("beta_schedule", "linear"))
    if not 0 < count <= MOST:
        raise ValueError(count)
    if schedule == "linear":
        return torch.linspace(start, end, count, dtype=torch.float32)
    if schedule == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, count, dtype=torch.float32) ** 2
    if schedule == "squaredcos_cap_v2":
        return torch.tensor([min(1 - _cosine((i + 1) / count) / _cosine(i / count), 0.999) for i in range(count)])
    raise ModelError(
        f"the scheduler's beta_schedule {schedule[:40]!r} is not known; known: linear, scaled_linear, squaredcos_cap_v2"
    )


def _cosine(t: float) -> float:
    """Improved DDPM (arXiv 2102.09672), equation 17."""
    return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2


def _zero_terminal_snr(products: Tensor) -> Tensor:
    """Common Diffusion Noise Schedules are Flawed (arXiv 2305.08891), algorithm 1.

    The last product would be zero, and the clean prediction divides by its root: it is kept at 2^-24 as diffusers'
    img2img schedulers do.
    """
    roots = products.sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    roots = (roots - last) * first / (first - last)
    squares = roots**2
    ratios = torch.cat([squares[:1], squares[1:] / squares[:-1]])
    products = torch.cumprod(1 - (1 - ratios), 0)
    products[-1] = 2**-24
    return products
