"""Typed access to config.toml."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import BaseModel, ConfigDict

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from .styles import Style

DEFAULT_CONFIG = Path(__file__).with_name("config.toml")
DEFAULT_DATA = Path("../shared/data")
DEFAULT_WORK = Path("build/train_tiny")
DEFAULT_OUT = Path("streamdiff/models/tiny")


class Section(BaseModel):
    """A section of the file: unknown keys are errors, so that a typing mistake cannot go unseen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(Section):
    """The cached crops."""

    size: int
    crops: int
    held_out_percent: int


class VaeConfig(Section):
    """Autoencoder: architecture and training."""

    latent_channels: int
    width: int
    encoder_blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    crop: int
    batch: int
    minutes: float
    lr: float
    warmup_steps: int
    ema: float
    latent_noise: float
    cell_phase: float
    photo_share: float
    ssim_weight: float


class ExampleConfig(Section):
    """A style of your own, from a folder of pictures in it."""

    prompt: str
    folder: Path
    synonyms: tuple[str, ...]


class TextConfig(Section):
    """Tokenizer and text encoder."""

    vocab_size: int
    max_length: int
    hidden: int
    layers: int
    heads: int
    intermediate: int


class UnetConfig(Section):
    """Denoiser: architecture and training."""

    block_out_channels: tuple[int, ...]
    layers_per_block: int
    attention_head_dim: int
    norm_num_groups: int
    batch: int
    small_share: float
    small_batch: int
    minutes: float
    lr: float
    warmup_steps: int
    weight_decay: float
    grad_clip: float
    ema: float
    prompt_dropout: float
    mood_share: float
    noised_photo_share: float
    condition_drop: float
    pixel_from: float
    pixel_share: float
    pixel_weight: float
    adversarial_from: float
    adversarial_share: float
    critic_width: int
    critic_lr: float


class Config(Section):
    """The whole file."""

    seed: int
    version: str
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    data: DataConfig
    vae: VaeConfig
    text: TextConfig
    unet: UnetConfig
    examples: tuple[ExampleConfig, ...] = ()

    def styles(self) -> dict[str, Style]:
        """All styles by their prompts: the built-in ones, then those of the config file."""
        from .styles import STYLES, Style
        from .styles.examples import Examples

        own = (Style(e.prompt, Examples(e.folder), e.synonyms) for e in self.examples)
        return {**STYLES, **{style.prompt: style for style in own}}

    def torch_device(self) -> torch.device:
        """The device to train on; "auto" takes a CUDA device where there is one."""
        if self.device != "auto":
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_config(path: Path = DEFAULT_CONFIG) -> Config:
    """Read and validate a config file."""
    with path.open("rb") as file:
        return Config.model_validate(tomllib.load(file))
