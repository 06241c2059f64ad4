"""The denoiser and its noise schedule."""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers import LCMScheduler, UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from .config import Config


def build_unet(config: Config) -> UNet2DConditionModel:
    """A fresh denoiser: [N, 2C, h, w] (noisy latent, then the clean input latent) -> clean latent [N, C, h, w].

    Timestep and pooled text scale and shift every residual block (FiLM, arXiv 1709.07871), so that the style reaches
    the finest level, where attention would cost too much. The scales begin at none.
    """
    u = config.unet
    model = UNet2DConditionModel(
        sample_size=config.data.size // 8,
        in_channels=2 * config.vae.latent_channels,
        out_channels=config.vae.latent_channels,
        block_out_channels=u.block_out_channels,
        layers_per_block=u.layers_per_block,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        only_cross_attention=(False, True, False),
        cross_attention_dim=config.text.hidden,
        attention_head_dim=u.attention_head_dim,
        norm_num_groups=u.norm_num_groups,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=config.text.heads,
    )
    unet = cast(UNet2DConditionModel, model)
    for module in unet.modules():
        if isinstance(module, ResnetBlock2D):
            nn.init.zeros_(cast(nn.Linear, module.time_emb_proj).weight)
            nn.init.zeros_(cast(nn.Linear, module.time_emb_proj).bias)
    return unet


def build_scheduler() -> LCMScheduler:
    """The scheduler that is exported beside the weights."""
    settings: dict[str, Any] = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "prediction_type": "sample",
        "original_inference_steps": 50,
        "timestep_scaling": 10.0,
        "clip_sample": False,
        "set_alpha_to_one": True,
        "steps_offset": 1,
    }
    return LCMScheduler(**settings)


class Schedule:
    """alpha and sigma by timestep, as [N, 1, 1, 1] for latents."""

    def __init__(self, device: torch.device) -> None:
        cumulative = cast(Tensor, build_scheduler().alphas_cumprod).to(device)
        self.alpha, self.sigma = cumulative.sqrt(), (1 - cumulative).sqrt()

    def at(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of the clean latent and of the noise at timesteps [N]."""
        return self.alpha[timestep][:, None, None, None], self.sigma[timestep][:, None, None, None]
