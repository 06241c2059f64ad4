"""Picture quality: PSNR and SSIM on pictures in -1..1."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two pictures [3, H, W] in -1..1."""
    mse = ((a - b) / 2).square().mean().clamp_min(1e-10)
    return float(-10 * torch.log10(mse))


def _grey(x: Tensor) -> Tensor:
    """Luminance [N, 1, H, W] in 0..1 of pictures in -1..1."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=x.device)[:, None, None]
    return (((x + 1) / 2) * weights).sum(1, keepdim=True)


def _ssim(a: Tensor, b: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
    """Structural similarity of greys with a window's `mean`, K = .01/.03 (Wang et al. 2004, section III-B)."""
    x, y = _grey(a), _grey(b)
    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y, cov = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2, mean(x * y) - mean_x * mean_y
    value = (2 * mean_x * mean_y + 0.01**2) * (2 * cov + 0.03**2)
    return (value / ((mean_x**2 + mean_y**2 + 0.01**2) * (var_x + var_y + 0.03**2))).mean()


def ssim(a: Tensor, b: Tensor, sigma: float = 1.5, radius: int = 5) -> float:
    """Structural similarity of pictures [3, H, W] in -1..1, with the usual Gaussian window 11x11."""
    line = torch.exp(-(torch.arange(-radius, radius + 1).float() ** 2) / (2 * sigma**2))
    line = line / line.sum()
    window = (line[:, None] * line[None, :])[None, None]
    return float(_ssim(a[None], b[None], lambda t: F.conv2d(t, window)))


def box_ssim(a: Tensor, b: Tensor) -> Tensor:
    """The same of batches [N, 3, H, W] with boxes of 8x8, every second one: cheap enough for a loss."""
    return _ssim(a, b, lambda t: F.avg_pool2d(t, 8, 2))
