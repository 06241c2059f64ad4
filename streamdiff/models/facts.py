"""What the stream must know of a model, read from its configurations and checked before anything is built.

With a warm engine cache no network is built that could find a fault, so it has to be found here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from streamdiff.errors import ModelError
from streamdiff.models.base import Prediction, Style
from streamdiff.models.betas import alphas_cumprod
from streamdiff.models.components import Components, class_name, read_json

STRIDE = 8
"""Pixels for each latent, along one axis, of every VAE that fits the UNets here."""

MOST = 1_000_000
"""Largest whole number that is believed."""

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """The facts of ``Model``, under the same names.

    ``condition_scale`` is the scaling factor of the VAE that an image-conditioned UNet was trained with, else None.
    """

    prediction: Prediction
    alphas_cumprod: Tensor
    latent_channels: int
    image_conditioned: bool
    condition_scale: float | None
    text_length: int
    text_width: int
    deep_channels: int
    default_size: tuple[int, int]


def facts_of(components: Components, other_vae: Config | None, source: str) -> Facts:
    """Read and check the configurations.

    Args:
        components: the model.
        other_vae: configuration of a VAE that takes the place of its own.
        source: as the user named the model, for messages.

    Raises:
        ModelError: a configuration is missing, or makes no model that is supported.
    """
    unet, vae, text, scheduler = (components.config(part) for part in ("unet", "vae", "text_encoder", "scheduler"))
    class_name(unet, "unet", f"the unet of {source}")
    class_name(text, "text_encoder", f"the text_encoder of {source}")
    own_scale = scaling_factor(vae, f"the vae of {source}")
    if other_vae is not None:
        scaling_factor(other_vae, "the other vae")
    in_use = (vae, f"the vae of {source}") if other_vae is None else (other_vae, "the other vae")
    channels = latent_channels(*in_use)
    conditioned = _conditioned(unet, channels, source)
    width = whole(text, "hidden_size", None, f"the text_encoder of {source}")
    _same_width(unet, width, source)
    side = _side(unet, source)
    return Facts(
        prediction=_prediction(scheduler, source),
        alphas_cumprod=alphas_cumprod(scheduler),
        latent_channels=channels,
        image_conditioned=conditioned,
        # TAESD has no scale of its own, its latents are SD's scaled ones: what counts is the VAE of the training.
        condition_scale=own_scale if conditioned else None,
        text_length=whole(text, "max_position_embeddings", 77, f"the text_encoder of {source}"),
        text_width=width,
        deep_channels=_deep_channels(unet, source),
        default_size=(side, side),
    )


def latent_channels(vae: Config, where: str) -> int:
    """Channels of a VAE's latents, after checking its class and its stride.

    Raises:
        ModelError: an unsupported class or another stride than ``STRIDE``.
    """
    tiny = class_name(dict(vae), "vae", where) == "AutoencoderTiny"
    for name in ("encoder_block_out_channels", "decoder_block_out_channels") if tiny else ("block_out_channels",):
        blocks: Any = vae.get(name, [64] * 4 if tiny else [64])
        stride = 2 ** (len(cast("list[Any]", blocks)) - 1) if isinstance(blocks, list) and blocks else 0
        if stride != STRIDE:
            raise ModelError(
                f"{where} has {name} {str(blocks)[:60]}, {stride} pixels for each latent; only {STRIDE} are supported"
            )
    return whole(vae, "latent_channels", 4, where)


def scaling_factor(vae: Config, where: str) -> float:
    """What a VAE's latents are multiplied by; a class's own default where the configuration has none.

    Raises:
        ModelError: no number above 0.
    """
    default = 1.0 if vae.get("_class_name") == "AutoencoderTiny" else 0.18215
    value: Any = vae.get("scaling_factor")
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ModelError(f"{where} has scaling_factor {str(value)[:40]}; a number above 0 is wanted")
    return float(value)


def whole(config: Config, name: str, default: int | None, where: str) -> int:
    """A whole number above 0; no default makes it required.

    Raises:
        ModelError: missing or something else.
    """
    value: Any = config.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST:
        given = "no" if value is None else f"{str(value)[:40]!r} as"
        raise ModelError(f"{where} has {given} {name}; a whole number above 0 is wanted")
    return value


def read_styles(folder: Path) -> tuple[tuple[Style, ...], tuple[Style, ...]]:
    """The prompts of a model that brings ``styles.json``: styles, and moods, which go with any; empty for any other.

    Raises:
        ModelError: the file is damaged.
    """
    path = folder / "styles.json"
    if not path.is_file():
        return (), ()
    try:
        listed = read_json(path)
        styles, moods = (
            tuple(
                Style(str(item["name"]), str(item["prompt"]), tuple(map(str, item.get("synonyms", ()))))
                for item in items
            )
            for items in (listed["styles"], listed.get("moods", ()))
        )
        return styles, moods
    except (KeyError, TypeError, AttributeError):
        raise ModelError(f"{path} is damaged: a list of styles with names and prompts is wanted") from None


def _conditioned(unet: Config, channels: int, source: str) -> bool:
    """Whether the UNet takes the clean latent too.

    Raises:
        ModelError: a UNet that takes something else, or another VAE's latents.
    """
    added = ("addition_embed_type", "class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "encoder_hid_dim")
    pooled = ("addition_embed_type", "text")  # made of the same text: no further input
    found = next((name for name in added if unet.get(name) and (name, unet[name]) != pooled), None)
    if found is not None:
        raise ModelError(
            f"{source}: a UNet with added or class conditioning ({found}; SDXL has it) is not supported yet; "
            "SD 1.x and 2.x are"
        )
    where = f"the unet of {source}"
    given, out = whole(unet, "in_channels", 4, where), whole(unet, "out_channels", 4, where)
    if out != channels or given not in (channels, 2 * channels):
        raise ModelError(
            f"{source}: the UNet takes {given} and gives {out} channels, the VAE has {channels}; an image-to-image or "
            "InstructPix2Pix model takes as many as the VAE has, or twice as many"
        )
    return given == 2 * channels


def _same_width(unet: Config, width: int, source: str) -> None:
    wanted: Any = unet.get("cross_attention_dim", 1280)
    widths = cast("list[Any]", wanted) if isinstance(wanted, list) else [wanted]
    if any(w != width for w in widths):
        raise ModelError(
            f"{source}: the unet takes text of width {str(wanted)[:40]}, its text encoder gives {width}; they "
            "belong to two different models"
        )


def _deep_channels(unet: Config, source: str) -> int:
    """Channels that the last block of the UNet is given; 0 where it is the only one."""
    blocks: Any = unet.get("block_out_channels", [320, 640, 1280, 1280])
    if not isinstance(blocks, list) or not blocks:
        raise ModelError(f"the unet of {source} has block_out_channels {str(blocks)[:40]}; a list of numbers is wanted")
    channels = cast("list[int]", blocks)
    return channels[1] if len(channels) > 1 else 0


def _side(unet: Config, source: str) -> int:
    """Pixels of a side of the pictures it was trained on."""
    size: Any = unet.get("sample_size")
    sides = cast("list[Any]", size) if isinstance(size, list) and size else [size]
    where = f"the unet of {source}"
    return max(whole({"sample_size": side}, "sample_size", 64, where) for side in sides) * STRIDE


def _prediction(scheduler: Config, source: str) -> Prediction:
    prediction: Any = scheduler.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise ModelError(
            f"{source}: the scheduler's prediction_type {str(prediction)[:40]!r} is not supported; epsilon, "
            "v_prediction and sample are"
        )
    return prediction
