"""Typed access to config.toml."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

from scripts.train_tiny import config as tiny
from scripts.train_tiny.config import Section
from streamdiff.models.base import Model
from streamdiff.rolling.schedule import Ladder, make_ladder
from streamdiff.rolling.window import Span

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_CONFIG = Path(__file__).with_name("config.toml")
DEFAULT_DATA, DEFAULT_PICTURES = tiny.DEFAULT_DATA, tiny.DEFAULT_WORK
DEFAULT_WORK = Path("build/train_rolling")
DEFAULT_OUT = Path("streamdiff/models/tiny-rolling")


class ModelConfig(Section):
    """Geometry of the transformer, its ladder, its window, and how the picture model paints for it."""

    heads: int
    head_width: int
    layers: int
    ffn: int
    freq: int
    block: int
    span: int
    steps: tuple[int, ...]
    shift: float
    paint: tuple[int, ...]
    calm: float
    fps: float
    size: tuple[int, int]

    def ladder(self) -> Ladder:
        """Noise levels."""
        return make_ladder(self.steps, self.shift)

    def reach(self) -> Span:
        """How far attention reaches."""
        return Span(self.block, self.span)

    def build(self, pictures: Model) -> Any:
        """A fresh WanTransformer3DModel that takes a picture model's latents twice, the camera's behind the noisy."""
        return WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=self.heads,
            attention_head_dim=self.head_width,
            in_channels=2 * pictures.latent_channels,
            out_channels=pictures.latent_channels,
            text_dim=pictures.text_width,
            freq_dim=self.freq,
            ffn_dim=self.ffn,
            num_layers=self.layers,
            rope_max_seq_len=64,
        )


class ClipsConfig(Section):
    """Real clips, cached with their targets."""

    held_out: tuple[str, ...]
    segments: int
    frames: int
    size: tuple[int, int]
    steadiness: float


class TrainConfig(Section):
    """Training."""

    minutes: float
    streams: int
    blocks: int
    sizes: tuple[tuple[int, int], ...]
    level_shares: tuple[float, ...]
    level_style: tuple[float, ...]
    clip_share: float
    still_share: float
    zoom_share: float
    speed: float
    mood_share: float
    prompt_dropout: float
    own_from: float
    own_full: float
    lr: float
    warmup_steps: int
    weight_decay: float
    grad_clip: float
    ema: float
    motion_weight: float
    pixel_from: float
    pixel_weight: float


class Config(Section):
    """The whole file."""

    seed: int
    version: str
    pictures: str
    model: ModelConfig
    clips: ClipsConfig
    train: TrainConfig


def load_config(path: Path = DEFAULT_CONFIG) -> Config:
    """Read and validate a config file."""
    with path.open("rb") as file:
        return Config.model_validate(tomllib.load(file))
