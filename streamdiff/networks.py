"""The compiled networks of a frame's way, for one model, runtime and size."""

from __future__ import annotations

from dataclasses import dataclass

from engines import Engine, Network, Runtime, shared_engine
from streamdiff.config import StreamConfig
from streamdiff.errors import ConfigError
from streamdiff.models.base import Model


@dataclass(frozen=True)
class Engines:
    """The networks of a frame's way, ready for one size.

    Attributes:
        encoder: uint8 [F, H, W, 3] to clean latents [F, C, h, w].
        unet: (x, conditioning) to prediction; with the deep features behind it where there is a shallow one.
        decoder: clean latents [F, C, h, w] to uint8 [F, H, W, 3].
        shallow: (x, conditioning, deep) to prediction, where features are reused.
    """

    encoder: Engine
    unet: Engine
    decoder: Engine
    shallow: Engine | None = None


def networks_for(model: Model, config: StreamConfig, conditioning: int) -> list[Network]:
    """Encoder, UNet, decoder and, where features are reused, shallow UNet.

    Args:
        model: the model.
        config: its size and reuse_every count.
        conditioning: M, the width of the conditioner's rows.

    Raises:
        ConfigError: features are to be reused of a UNet that has none.
    """
    size, reuse = (config.width, config.height), config.reuse_every > 1
    if reuse and not model.deep_channels:
        raise ConfigError(f"reuse_every = {config.reuse_every}: the UNet of {model.name} has one level; leave it at 1")
    networks = [model.encoder(*size), model.denoiser(*size, conditioning, deep=reuse), model.decoder(*size)]
    return [*networks, model.shallow(*size, conditioning)] if reuse else networks


def engines_for(model: Model, runtime: Runtime, config: StreamConfig, conditioning: int) -> Engines:
    """Make them ready, or take those that another stream holds; arguments and errors as ``networks_for``.

    Raises:
        ConfigError: as ``networks_for``.
        EngineError: one cannot be built here.
    """
    return Engines(*(shared_engine(runtime, network) for network in networks_for(model, config, conditioning)))
