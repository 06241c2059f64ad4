"""load_on_pictures: a rolling transformer on a picture model's latents, such as "tiny-rolling", as a RollingModel.

Its folder holds ``transformer/`` in diffusers format, which takes the camera's latents beside the noisy ones, and
``rolling.json``: the picture model whose VAE and text encoder it was trained with, its ladder and its window, and
where that model's UNet paints for it, at which timesteps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from engines.selection import choose
from streamdiff.config import Settings
from streamdiff.errors import ConfigError, ModelError
from streamdiff.models.base import Model
from streamdiff.models.components import read_json, shown
from streamdiff.models.fingerprint import check_digests
from streamdiff.models.load import load_model
from streamdiff.rolling.config import MULTIPLE
from streamdiff.rolling.model import RollingModel
from streamdiff.rolling.painter import Painter
from streamdiff.rolling.picture_vae import PictureVae
from streamdiff.rolling.pretrained import pretrained
from streamdiff.rolling.schedule import Ladder, make_ladder
from streamdiff.rolling.transformer import RollingTransformer
from streamdiff.rolling.window import Span

FACTS = "rolling.json"
TRANSFORMER = "WanTransformer3DModel"


class Facts(Settings):
    """What ``rolling.json`` says."""

    version: str = Field("", description="Of the weights.")
    pictures: str = Field("tiny", description='The picture model: "tiny", or a folder, seen from this one.')
    steps: tuple[int, ...] = Field(description="Denoising steps before they are warped, falling from 1000.")
    shift: Annotated[float, Field(gt=0, description="The warp.")] = 1.0
    block: Annotated[int, Field(ge=1, le=16, description="Latent frames in a block.")] = 3
    span: Annotated[int, Field(ge=2, le=256, description="Latent frames that attention reaches over.")]
    paint: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="Timesteps at which the picture model paints, for each level from 1 on; none: it does not."
    )
    calm: Annotated[
        float, Field(ge=0, le=0.95, description="Share of the last painted picture kept where it is still.")
    ] = 0
    fps: Annotated[float, Field(gt=0, description="Pictures a second it was trained for.")]
    size: tuple[int, int] = Field(description="Width and height it was made for, pixels, multiples of 16.")

    def ladder(self) -> Ladder:
        """Noise levels."""
        return make_ladder(self.steps, self.shift)

    def reach(self) -> Span:
        """How far attention reaches."""
        return Span(self.block, self.span)


def is_on_pictures(folder: Path) -> bool:
    """Whether a folder holds such a model."""
    return (folder / FACTS).is_file()


def load_on_pictures(
    folder: Path,
    name: str,
    *,
    device: str | None = None,
    precision: torch.dtype | None = None,
    engine: str = "auto",
) -> RollingModel:
    """Load one.

    Args:
        folder: holds ``rolling.json`` and ``transformer/``.
        name: as the user named it.
        device: torch's name of a device; None takes the best there is.
        precision: of the transformer's weights, keys and values; bfloat16 on a GPU and float32 on a CPU where it is
            not given.
        engine: what runs the VAE, and the UNet that paints; "auto" is the best there is.

    Raises:
        ModelError: in one line, what is missing, damaged or does not fit.
        EngineError: the device cannot be used.
    """
    check_digests(folder)
    facts = _facts(folder)
    pictures = load_model("tiny" if facts.pictures == "tiny" else folder / facts.pictures)
    torch_device = choose("torch", device).device
    dtype = precision or (torch.float32 if torch_device.type == "cpu" else torch.bfloat16)
    if facts.paint and max(facts.paint) >= len(pictures.alphas_cumprod):
        last = len(pictures.alphas_cumprod) - 1
        raise ModelError(f"{shown(folder / FACTS)}: paint = {list(facts.paint)}: {pictures.name} knows 0 to {last}")
    _check_geometry(folder, read_json(folder / "transformer" / "config.json"), pictures)
    wan = pretrained(folder / "transformer", TRANSFORMER, torch.float32)
    transformer = RollingTransformer(wan, dtype).to(torch_device)
    runtime = choose(engine, device)
    return RollingModel(
        name=name,
        key=pictures.key,
        transformer=transformer,
        vae=PictureVae(pictures, runtime),
        tokenize=pictures.tokenize,
        make_text_encoder=pictures.make_text_encoder,
        text_length=pictures.text_length,
        ladder=facts.ladder(),
        span=facts.reach(),
        fps=facts.fps,
        default_size=facts.size,
        latent_stride=pictures.latent_stride,
        styles=pictures.styles,
        moods=pictures.moods,
        painter=Painter(pictures, runtime, facts.paint, facts.calm) if facts.paint else None,
    )


def _facts(folder: Path) -> Facts:
    try:
        facts = Facts.make(**read_json(folder / FACTS))
        _ = facts.ladder(), facts.reach()
        if facts.paint and len(facts.paint) != len(facts.ladder()) - 1:
            raise ConfigError(
                f"paint = {list(facts.paint)}: one timestep for each level from 1 to {len(facts.steps) - 1}"
            )
        if facts.calm and not facts.paint:
            raise ConfigError(f"calm = {facts.calm}: that is for what is painted, and paint is empty")
        if any(side % MULTIPLE or side < 64 for side in facts.size):
            raise ConfigError(f"size = {list(facts.size)}: two multiples of {MULTIPLE}, 64 or more")
    except (ConfigError, TypeError) as error:
        raise ModelError(f"{shown(folder / FACTS)} does not describe a rolling model: {error}") from None
    return facts


def _check_geometry(folder: Path, config: dict[str, Any], pictures: Model) -> None:
    channels = pictures.latent_channels
    facts = [
        ("class", config.get("_class_name"), TRANSFORMER),
        ("patch_size", list(config.get("patch_size", ())), [1, 2, 2]),
        ("out_channels", config.get("out_channels"), channels),
        ("in_channels", config.get("in_channels"), 2 * channels),
        ("text_dim", config.get("text_dim"), pictures.text_width),
    ]
    for name, given, wanted in facts:
        if given != wanted:
            raise ModelError(
                f"{folder / 'transformer'} does not fit the picture model {pictures.name}: {name} is {given}, wanted "
                f"{wanted}"
            )
