"""The networks with the signatures of ``Model``: pixels in, pixels out, scaling inside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from streamdiff.models.cell_phase import phase_size, with_phase


class Encoder(nn.Module):
    """uint8 [F, H, W, 3] RGB to scaled clean latents [F, C, h, w]: the distribution's mean, no sampling."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        del vae.decoder  # half of the weights; whoever traces this module must not carry them
        self.vae = vae
        self.scale = float(vae.config.scaling_factor or 1.0)
        self.shift = float(getattr(vae.config, "shift_factor", None) or 0.0)
        self.tiny = type(vae).__name__ == "AutoencoderTiny"

    def forward(self, picture: Tensor) -> Tensor:
        """Encode."""
        x = picture.permute(0, 3, 1, 2).float() / 127.5 - 1
        encoded = self.vae.encode(x, return_dict=False)[0]
        return ((encoded if self.tiny else encoded.mode()) - self.shift) * self.scale


class Decoder(nn.Module):
    """Scaled latents [F, C, h, w] to uint8 [F, H, W, 3] RGB."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        del vae.encoder
        self.vae = vae
        self.scale = float(vae.config.scaling_factor or 1.0)
        self.shift = float(getattr(vae.config, "shift_factor", None) or 0.0)
        self.phase = phase_size(vae.config)

    def picture(self, latent: Tensor) -> Tensor:
        """Decode to [F, 3, H, W], about -1 .. 1, with gradients."""
        unscaled = with_phase(latent / self.scale + self.shift, self.phase)
        return self.vae.decode(unscaled, return_dict=False)[0]

    def forward(self, latent: Tensor) -> Tensor:
        """Decode."""
        x = self.picture(latent)
        return (x * 127.5 + 127.5).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


class TextEncoder(nn.Module):
    """ids int64 [1, L] to the last hidden state [1, L, D], as the pipelines take it."""

    def __init__(self, text_encoder: nn.Module) -> None:
        super().__init__()
        self.text_encoder = text_encoder

    def forward(self, ids: Tensor) -> Tensor:
        """Embed."""
        return self.text_encoder(ids)[0]
