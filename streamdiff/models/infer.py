"""Configurations of a checkpoint in the original layout, read off the shapes of its weights.

A single file holds no configuration. Shapes tell all of it but the number of attention heads, which follows from the
kind of model: SD 1.x has 8 everywhere, SD 2.x one for every 64 channels. So no hub has to be asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]

UNET = "model.diffusion_model."
VAE = "first_stage_model."
SD1_TEXT = "cond_stage_model.transformer."
SD2_TEXT = "cond_stage_model.model."
OTHER_PARTS = (UNET, "cond_stage_model.", "model_ema.", "conditioner.")
CONTEXT = "attn2.to_k.weight"

SD1_WIDTH, SD2_WIDTH = 768, 1024
"""Width of the text embedding, which tells the two apart."""

TEXT_LAYERS = 23
"""Layers of SD 2's text encoder that are used: its second to last output is taken as the last."""


def text_width(shapes: Shapes) -> int | None:
    """Width of the text that the UNet takes; None without cross-attention."""
    return next((shape[1] for name, shape in shapes.items() if name.startswith(UNET) and name.endswith(CONTEXT)), None)


def unet_config(shapes: Shapes) -> dict[str, Any] | None:
    """Of a ``UNet2DConditionModel``; None where the shapes are of no kind that is known."""
    width = text_width(shapes)
    first, last = shapes.get(UNET + "input_blocks.0.0.weight"), shapes.get(UNET + "out.2.weight")
    if width not in (SD1_WIDTH, SD2_WIDTH) or first is None or last is None or UNET + "label_emb.0.0.weight" in shapes:
        return None
    levels: list[int] = [0]
    layers: list[int] = [0]
    attention: list[bool] = [False]
    place = 1
    while any(name.startswith(f"{UNET}input_blocks.{place}.0.") for name in shapes):
        block = f"{UNET}input_blocks.{place}."
        if block + "0.op.weight" in shapes:  # the step down to the next level
            levels, layers, attention = [*levels, 0], [*layers, 0], [*attention, False]
        else:
            levels[-1] = shapes.get(block + "0.out_layers.3.weight", (0,))[0]
            layers[-1] += 1
            attention[-1] |= block + "1.norm.weight" in shapes
        place += 1
    deep = any(".transformer_blocks.1." in name for name in shapes)
    if deep or len(set(layers)) != 1 or not layers[0] or not all(levels):
        return None
    down = ["CrossAttnDownBlock2D" if there else "DownBlock2D" for there in attention]
    up = ["CrossAttnUpBlock2D" if there else "UpBlock2D" for there in reversed(attention)]
    linear = any(name.endswith(".1.proj_in.weight") and len(shape) == 2 for name, shape in shapes.items())
    return {
        "_class_name": "UNet2DConditionModel",
        "sample_size": 64,
        "in_channels": first[1],
        "out_channels": last[0],
        "block_out_channels": levels,
        "layers_per_block": layers[0],
        "down_block_types": down,
        "up_block_types": up,
        "cross_attention_dim": width,
        # By an old slip of diffusers this names the number of heads.
        "attention_head_dim": 8 if width == SD1_WIDTH else [max(1, level // 64) for level in levels],
        "use_linear_projection": linear,
    }


def vae_config(shapes: Shapes) -> dict[str, Any] | None:
    """Of an ``AutoencoderKL``, in a checkpoint or alone; None where there is none."""
    prefix = VAE if VAE + "encoder.conv_in.weight" in shapes else ""
    latent = shapes.get(prefix + "decoder.conv_in.weight")
    channels: list[int] = []
    while (shape := shapes.get(f"{prefix}encoder.down.{len(channels)}.block.0.conv1.weight")) is not None:
        channels.append(shape[0])
    layers = 0
    while f"{prefix}encoder.down.0.block.{layers}.conv1.weight" in shapes:
        layers += 1
    if latent is None or len(latent) != 4 or not channels:
        return None
    return {
        "_class_name": "AutoencoderKL",
        "sample_size": 512,
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "layers_per_block": layers,
        "latent_channels": latent[1],
        "scaling_factor": 0.18215,
    }


def text_config(shapes: Shapes) -> dict[str, Any] | None:
    """Of a ``CLIPTextModel``: CLIP L in SD 1.x, OpenCLIP H in SD 2.x; None where there is neither."""
    inner = SD1_TEXT + ("text_model." if any(name.startswith(SD1_TEXT + "text_model.") for name in shapes) else "")
    sd2 = any(name.startswith(SD2_TEXT) for name in shapes)
    prefix = SD2_TEXT if sd2 else inner
    tokens = shapes.get(prefix + ("token_embedding.weight" if sd2 else "embeddings.token_embedding.weight"))
    places = shapes.get(prefix + ("positional_embedding" if sd2 else "embeddings.position_embedding.weight"))
    layer = prefix + ("transformer.resblocks.{}.mlp.c_fc.weight" if sd2 else "encoder.layers.{}.mlp.fc1.weight")
    layers = 0
    while layer.format(layers) in shapes:
        layers += 1
    if tokens is None or places is None or not layers:
        return None
    return {
        "architectures": ["CLIPTextModel"],
        "vocab_size": tokens[0],
        "hidden_size": tokens[1],
        "intermediate_size": shapes[layer.format(0)][0],
        "num_hidden_layers": min(layers, TEXT_LAYERS) if sd2 else layers,
        "num_attention_heads": max(1, tokens[1] // 64),
        "max_position_embeddings": places[0],
        "hidden_act": "gelu" if sd2 else "quick_gelu",
        "eos_token_id": 49407,
        "bos_token_id": 49406,
    }


def scheduler_config(v_prediction: bool) -> dict[str, Any]:
    """The training schedule that SD 1.x and 2.x share."""
    return {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "num_train_timesteps": 1000,
        "prediction_type": "v_prediction" if v_prediction else "epsilon",
    }
