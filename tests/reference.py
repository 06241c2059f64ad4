"""Sequential denoising of one frame alone, from the formulas of ALGORITHMS 1 and 2, sharing no code with ours."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def denoise(
    unet: Callable[[Tensor, Tensor, Tensor], Tensor],
    alphas_cumprod: Tensor,
    taus: list[int],
    prediction: str,
    z: Tensor,
    noise: Tensor,
    c: Tensor,
    c_neg: Tensor,
    mode: str,
    gamma: float,
    delta: float,
    image_conditioned: bool,
) -> Tensor:
    """Clean latent of one frame; z [1, C, h, w], noise [n, C, h, w], c and c_neg [1, L, D]."""
    if gamma <= 1:
        mode = "none"

    def eps(x: Tensor, i: int, text: Tensor) -> Tensor:
        inputs = torch.cat([x, z], 1) if image_conditioned else x
        out = unet(inputs, torch.tensor([taus[i]]), text)
        if prediction == "epsilon":
            return out
        abar = alphas_cumprod[taus[i]].double()
        if prediction == "sample":
            return ((x.double() - abar.sqrt() * out.double()) / (1 - abar).sqrt()).float()
        return (abar.sqrt() * out.double() + (1 - abar).sqrt() * x.double()).float()

    def consistency(x: Tensor, i: int, e: Tensor) -> Tensor:
        abar = alphas_cumprod[taus[i]].double()
        s = (10.0 * taus[i]) ** 2
        f = (x.double() - (1 - abar).sqrt() * e.double()) / abar.sqrt()
        return ((s / (s + 0.25)) ** 0.5 * f + 0.25 / (s + 0.25) * x.double()).float()

    def level(i: int) -> tuple[Tensor, Tensor]:
        abar = alphas_cumprod[taus[i]].double()
        return abar.sqrt(), (1 - abar).sqrt()

    alpha, sigma = level(0)
    x = (alpha * z.double() + sigma * noise[0].double()).float()
    a = z
    clean = z
    for i in range(len(taus)):
        alpha, sigma = level(i)
        e = eps(x, i, c)
        if mode == "full":
            n = eps(x, i, c_neg)
            e = n + gamma * (e - n)
        elif mode in ("self", "onetime"):
            if mode == "onetime" and i == 0:
                a = consistency(x, 0, eps(x, 0, c_neg))
            virtual = ((x.double() - alpha * a.double()) / sigma).float()
            e = delta * virtual + gamma * (e - delta * virtual)
        clean = consistency(x, i, e)
        if i + 1 < len(taus):
            alpha, sigma = level(i + 1)
            x = (alpha * clean.double() + sigma * noise[i + 1].double()).float()
    return clean
