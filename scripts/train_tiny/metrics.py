"""Picture quality: PSNR and SSIM on pictures in -1..1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two pictures [3, H, W] in -1..1."""
    mse = ((a - b) / 2).square().mean().clamp_min(1e-10)
    return float(-10 * torch.log10(mse))


def ssim(a: Tensor, b: Tensor, sigma: float = 1.5, radius: int = 5) -> float:
    """Structural similarity (Gaussian window 11x11, K = .01/.03) of the greys of pictures [3, H, W] in -1..1."""
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    x = (((a + 1) / 2) * weights).sum(0)[None, None]
    y = (((b + 1) / 2) * weights).sum(0)[None, None]
    line = torch.exp(-(torch.arange(-radius, radius + 1).float() ** 2) / (2 * sigma**2))
    line = line / line.sum()
    window = (line[:, None] * line[None, :])[None, None]

    def blur(t: Tensor) -> Tensor:
        return F.conv2d(t, window)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    cov = blur(x * y) - mean_x * mean_y
    value = (2 * mean_x * mean_y + 0.01**2) * (2 * cov + 0.03**2)
    value = value / ((mean_x**2 + mean_y**2 + 0.01**2) * (var_x + var_y + 0.03**2))
    return float(value.mean())
