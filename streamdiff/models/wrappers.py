"""The networks with the signatures of ``Model``: pixels in, pixels out, scaling and conditioning inside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LCM_GUIDANCE = 7.5
"""The guidance an LCM-distilled UNet (``time_cond_proj_dim``) is asked for: its authors' default, 8.5 less 1."""


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

    def forward(self, latent: Tensor) -> Tensor:
        """Decode."""
        x = self.vae.decode(latent / self.scale + self.shift, return_dict=False)[0]
        return (x * 127.5 + 127.5).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


class TimestepTable(nn.Module):
    """A UNet's sinusoidal timestep embedding, looked up: the same numbers, exact in any precision of the engine."""

    def __init__(self, time_proj: nn.Module, count: int) -> None:
        super().__init__()
        self.table = nn.Parameter(time_proj(torch.arange(count)), requires_grad=False)

    def forward(self, timestep: Tensor) -> Tensor:
        """int64 [B] to [B, D]."""
        return self.table[timestep]


class Unet(nn.Module):
    """(x [B, C or 2 C, h, w], t int64 [B], text [B, L, D]) to prediction [B, C, h, w]."""

    def __init__(self, unet: Any, train_steps: int, condition_scale: float | None) -> None:
        """Wrap a UNet2DConditionModel.

        Args:
            unet: the model.
            train_steps: T; timesteps are 0 .. T-1.
            condition_scale: of an image-conditioned UNet, the scaling factor of the VAE it was trained with:
                InstructPix2Pix takes unscaled condition latents, and the stream's are scaled. None for any other.
        """
        super().__init__()
        unet.time_proj = TimestepTable(unet.time_proj, train_steps)
        self.unet = unet
        self.condition_scale = condition_scale
        width = unet.config.time_cond_proj_dim
        self.guided = width is not None
        self.register_buffer("guidance", guidance_embedding(LCM_GUIDANCE, width or 2))

    def forward(self, x: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        """Predict."""
        if self.condition_scale is not None and self.condition_scale != 1.0:
            noisy, condition = x.chunk(2, dim=1)
            x = torch.cat([noisy, condition / self.condition_scale], dim=1)
        guidance = self.get_buffer("guidance").expand(x.shape[0], -1) if self.guided else None
        return self.unet(x, timestep, text, timestep_cond=guidance, return_dict=False)[0]


class TextEncoder(nn.Module):
    """ids int64 [1, L] to the last hidden state [1, L, D], as the pipelines take it."""

    def __init__(self, text_encoder: nn.Module) -> None:
        super().__init__()
        self.text_encoder = text_encoder

    def forward(self, ids: Tensor) -> Tensor:
        """Embed."""
        return self.text_encoder(ids)[0]


def guidance_embedding(guidance: float, width: int) -> Tensor:
    """Sinusoidal embedding of a guidance scale, [1, width] (LCM, arXiv 2310.04378, section 4.2; widths are even)."""
    frequencies = torch.exp(torch.arange(width // 2) * -(torch.log(torch.tensor(10000.0)) / max(1, width // 2 - 1)))
    angles = 1000 * guidance * frequencies
    return torch.cat([angles.sin(), angles.cos()])[None]
