"""What a prediction is measured by in training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scripts.train_tiny.train_vae import gradient_loss

from .latents import Latents


def distance(d: Tensor) -> Tensor:
    """Half absolute, half squared size of a difference [F, C, h, w], for each frame, [F]."""
    return 0.5 * d.abs().mean((1, 2, 3)) + 0.5 * d.square().mean((1, 2, 3))


def video_loss(clean: Tensor, answer: Tensor, motion_weight: float) -> Tensor:
    """Distance of the latents of successive frames, and of their change from frame to frame."""
    d = clean - answer
    loss = distance(d).mean()
    return loss + motion_weight * distance(d[1:] - d[:-1]).mean() if len(d) > 1 else loss


def pixel_loss(clean: Tensor, answer: Tensor, latents: Latents) -> Tensor:
    """L1 and gradient distance of the decoded pictures."""
    with torch.no_grad():
        wanted = latents.decode(answer)
    got = latents.decode(clean)
    return F.l1_loss(got, wanted) + gradient_loss(got, wanted)
