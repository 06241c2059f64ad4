"""Toy Wan transformers: random weights in the original layout, and diffusers' model filled from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from streamdiff.rolling.model import RollingModel
from streamdiff.rolling.transformer import RollingTransformer
from streamdiff.rolling.vae import VideoVae, WanVae
from streamdiff.rolling.weights import fill_transformer

CHANNELS = 4
"""Of the toys' latents."""
TEXT = (4, 6)
"""Tokens and width of the toys' prompts."""


def original_weights(
    *, channels: int = 4, heads: int = 2, width: int = 8, layers: int = 2, ffn: int = 24, text: int = 6, freq: int = 16,
    seed: int = 0, conditioned: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    """Random weights under Wan's own names, large enough that every part of the model shows in its output.

    Conditioned, it takes the camera's latents as further channels.
    """
    into = channels * (2 if conditioned else 1)
    generator = torch.Generator().manual_seed(seed)
    dim = heads * width

    def linear(name: str, out: int, into: int) -> dict[str, Tensor]:
        return {
            f"{name}.weight": torch.randn(out, into, generator=generator) / into**0.5,
            f"{name}.bias": 0.2 * torch.randn(out, generator=generator),
        }

    w = {
        "patch_embedding.weight": torch.randn(dim, into, 1, 2, 2, generator=generator) / (4 * into) ** 0.5,
        "patch_embedding.bias": 0.2 * torch.randn(dim, generator=generator),
        **linear("text_embedding.0", dim, text), **linear("text_embedding.2", dim, dim),
        **linear("time_embedding.0", dim, freq), **linear("time_embedding.2", dim, dim),
        **linear("time_projection.1", 6 * dim, dim), **linear("head.head", 4 * channels, dim),
        "head.modulation": 0.3 * torch.randn(1, 2, dim, generator=generator),
    }  # fmt: skip
    for i in range(layers):
        b = f"blocks.{i}."
        for part in ("self_attn", "cross_attn"):
            for name in "qkvo":
                w |= linear(f"{b}{part}.{name}", dim, dim)
            for name in ("norm_q", "norm_k"):
                w[f"{b}{part}.{name}.weight"] = 1 + 0.5 * torch.rand(dim, generator=generator)
        w |= linear(f"{b}ffn.0", ffn, dim) | linear(f"{b}ffn.2", dim, ffn)
        w[f"{b}norm3.weight"] = 1 + 0.2 * torch.randn(dim, generator=generator)
        w[f"{b}norm3.bias"] = 0.2 * torch.randn(dim, generator=generator)
        w[f"{b}modulation"] = 0.5 + 0.5 * torch.randn(1, 6, dim, generator=generator)
    return w


def config_of(w: dict[str, Tensor], heads: int) -> dict[str, Any]:
    """diffusers' configuration of a transformer with these weights."""
    dim, channels = w["patch_embedding.weight"].shape[:2]
    return {
        "patch_size": (1, 2, 2), "num_attention_heads": heads, "attention_head_dim": dim // heads,
        "in_channels": channels, "out_channels": len(w["head.head.bias"]) // 4,
        "text_dim": w["text_embedding.0.weight"].shape[1],
        "freq_dim": w["time_embedding.0.weight"].shape[1], "ffn_dim": w["blocks.0.ffn.0.weight"].shape[0],
        "num_layers": sum(name.endswith("self_attn.q.weight") for name in w), "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads", "eps": 1e-6, "rope_max_seq_len": 64,
    }  # fmt: skip


def toy_transformer(w: dict[str, Tensor], heads: int) -> RollingTransformer:
    from diffusers import WanTransformer3DModel

    wan = WanTransformer3DModel(**config_of(w, heads))
    fill_transformer(wan, dict(w), Path("toy"))
    return RollingTransformer(wan)


def wan_vae() -> Any:
    """An AutoencoderKLWan of a few thousand parameters that paints with contrast."""
    from diffusers import AutoencoderKLWan

    generator = torch.Generator().manual_seed(4)
    vae = AutoencoderKLWan(
        base_dim=4, z_dim=CHANNELS, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.8, 1.0, 1.2],
    )  # fmt: skip
    for parameter in vae.parameters():
        spread = 0.3 if parameter.ndim == 1 else (parameter[0].numel() ** -0.5)
        parameter.data = parameter.data * 0 + spread * torch.randn(parameter.shape, generator=generator)
    return vae


def toy_vae() -> WanVae:
    return WanVae(wan_vae())


class PictureVae:
    """A VAE of single pictures without weights: block means, and back. Its stride is 1."""

    channels = CHANNELS
    stride = 1
    wanted = 1

    def ready(self, width: int, height: int) -> None:
        pass

    def encoder(self) -> PictureVae:
        return self

    def decoder(self) -> Callable[[Tensor], Tensor]:
        return self.decode

    def __call__(self, pictures: Tensor) -> Tensor:
        x = torch.nn.functional.avg_pool2d(pictures.permute(0, 3, 1, 2) / 127.5 - 1, 8)
        return torch.cat([x, x.prod(1, keepdim=True)], 1)

    def decode(self, latents: Tensor) -> Tensor:
        x = latents[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3)
        return (x * 127.5 + 127.5).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


class ToyText(nn.Module):
    def forward(self, ids: Tensor) -> Tensor:
        return torch.sin(ids[:, :, None].float() * torch.arange(1, TEXT[1] + 1, device=ids.device))


def tokenize(text: str) -> Tensor:
    return torch.tensor([list(hashlib.sha256(text.encode()).digest()[: TEXT[0]])])


def toy_model(vae: VideoVae | None = None, *, layers: int = 2, conditioned: bool = False, **facts: Any) -> RollingModel:
    weights = original_weights(
        channels=CHANNELS, text=TEXT[1], heads=1, width=12, layers=layers, ffn=12, conditioned=conditioned
    )
    return RollingModel(
        name="toy", key="rolling-toy", transformer=toy_transformer(weights, 1), vae=vae or toy_vae(),
        tokenize=tokenize, make_text_encoder=ToyText, text_length=TEXT[0], default_size=(64, 64), **facts,
    )  # fmt: skip
