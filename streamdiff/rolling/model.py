"""RollingModel: everything a rolling stream needs of a video model, on its device and shared by its sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from engines.base import Input, Network
from engines.torch_engine import TorchRuntime
from streamdiff.errors import ConfigError
from streamdiff.models.base import Style, Tokenize
from streamdiff.rolling.config import MULTIPLE, RollingConfig
from streamdiff.rolling.painter import Painter
from streamdiff.rolling.schedule import Ladder, make_ladder
from streamdiff.rolling.transformer import RollingTransformer
from streamdiff.rolling.vae import VideoVae
from streamdiff.rolling.window import Span


@dataclass(frozen=True)
class RollingModel:
    """A loaded video model.

    Attributes:
        name: as the user named it.
        key: content fingerprint of the text encoder, which sessions share.
        transformer: the denoiser.
        vae: pictures to latents and back.
        tokenize: text to ids.
        make_text_encoder: module, ids int64 [1, L] to float32 [1, L, D].
        text_length: L.
        ladder: noise levels it was trained for.
        span: how far its attention reaches.
        fps: pictures a second that it was trained for.
        default_size: width and height it was made for.
        latent_stride: pixels for each latent, along each side.
        styles, moods: prompts it is known to follow; empty when it follows free text.
        painter: what restyles a camera's latents before the transformer takes them, where it was trained with one.
    """

    name: str
    key: str
    transformer: RollingTransformer
    vae: VideoVae
    tokenize: Tokenize
    make_text_encoder: Callable[[], nn.Module]
    text_length: int
    ladder: Ladder = field(default_factory=make_ladder)
    span: Span = field(default_factory=Span)
    fps: float = 16.0
    default_size: tuple[int, int] = (832, 480)
    latent_stride: int = 8
    styles: tuple[Style, ...] = ()
    moods: tuple[Style, ...] = ()
    painter: Painter | None = None

    def __post_init__(self) -> None:
        if MULTIPLE % (self.latent_stride * self.transformer.patch):
            raise ConfigError(
                f"{self.name}: {self.latent_stride} pixels a latent and {self.transformer.patch} latents a token do "
                f"not divide {MULTIPLE}"
            )

    @property
    def runtime(self) -> TorchRuntime:
        """What runs its text encoder."""
        return TorchRuntime(self.transformer.device)

    def text_encoder(self) -> Network:
        """Token ids to embeddings, in the module's own precision: half of it overflows in a large T5."""
        return Network(
            "text", self.key, (Input("ids", (self.text_length,), torch.int64),), self.make_text_encoder, exact=True
        )

    def latent_size(self, config: RollingConfig) -> tuple[int, int]:
        """(h, w) of a latent."""
        return config.height // self.latent_stride, config.width // self.latent_stride

    def config(self, **settings: Any) -> RollingConfig:
        """Settings, at what the model was made for where they are not given.

        Raises:
            ConfigError: unknown name or value out of bounds.
        """
        width, height = self.default_size
        level = min(RollingConfig.model_fields["level"].default, len(self.ladder) - 1)
        own = {"width": width, "height": height, **({"level": level} if level else {})}
        return RollingConfig.make(**{**own, **settings})

    def check(self, config: RollingConfig) -> None:
        """Make sure that the model can run a configuration.

        Raises:
            ConfigError: a level that its ladder does not have.
        """
        if config.level >= len(self.ladder):
            raise ConfigError(f"level = {config.level}: this model's ladder has the levels 1 to {len(self.ladder) - 1}")
