"""The place within a latent cell, told to a decoder that cannot know it.

Nearest upsampling and convolutions keep what is even: a decoder of AutoencoderTiny's kind makes one flat colour of
equal latents, borders aside. A screen whose period is one cell (the dots of a newspaper, tiles, stitches) is equal
latents, so that it cannot be drawn, whatever the training. A faint pattern that changes its sign from cell to cell
shows the decoder where each cell begins and ends.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CONFIG_KEY = "cell_phase"
"""In a VAE's config.json: the pattern's size, in units of the unscaled latent; absent or 0: none."""


def phase_size(config: Any) -> float:
    """The size that a VAE's configuration asks for, 0 where it asks for none."""
    return float(getattr(config, CONFIG_KEY, None) or 0.0)


def with_phase(latent: Tensor, size: float) -> Tensor:
    """Unscaled latents [N, C, h, w] with the pattern added, as a decoder that was trained with it takes them.

    Even channels change their sign from column to column, odd ones from row to row:
    p[c, y, x] = size (-1)^x for even c, size (-1)^y for odd c.
    """
    if not size:
        return latent
    _, channels, height, width = latent.shape
    rows, columns = (
        size * (1 - 2 * (torch.arange(n, device=latent.device) % 2)).to(latent.dtype) for n in (height, width)
    )
    odd = (torch.arange(channels, device=latent.device) % 2).bool()[:, None, None]
    return latent + torch.where(odd, rows[:, None], columns)
