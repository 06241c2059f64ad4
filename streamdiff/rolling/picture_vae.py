"""PictureVae: a picture model's VAE as that of a video, picture by picture; it runs on an engine."""

from __future__ import annotations

import torch
from torch import Tensor

from engines.base import Engine, Runtime
from engines.pool import shared_engine
from streamdiff.models.base import Model
from streamdiff.rolling.vae import VideoDecoder, VideoEncoder


class PictureVae:
    """A ``VideoVae`` in which every picture is a latent frame of its own; nothing is remembered between them.

    Attributes:
        channels: C.
        stride: 1.
    """

    stride = 1

    def __init__(self, model: Model, runtime: Runtime) -> None:
        """A VAE whose engines are made when a size is first used.

        Args:
            model: whose VAE it is.
            runtime: what compiles its networks.
        """
        self.model = model
        self.runtime = runtime
        self.channels = model.latent_channels

    def encoder(self) -> VideoEncoder:
        """An encoder at the beginning of a video."""
        return _PictureEncoder(self)

    def decoder(self) -> VideoDecoder:
        """A decoder at the beginning of a video."""
        return _PictureDecoder(self)


class _PictureEncoder:
    wanted = 1

    def __init__(self, vae: PictureVae) -> None:
        self._vae = vae
        self._engine: Engine | None = None

    def __call__(self, pictures: Tensor) -> Tensor:
        if self._engine is None:
            height, width = pictures.shape[1:3]
            self._engine = shared_engine(self._vae.runtime, self._vae.model.encoder(width, height))
        return self._engine(pictures.to(self._vae.runtime.device)).float()


class _PictureDecoder:
    def __init__(self, vae: PictureVae) -> None:
        self._vae = vae
        self._engine: Engine | None = None

    def __call__(self, latents: Tensor) -> Tensor:
        if self._engine is None:
            model = self._vae.model
            height, width = (side * model.latent_stride for side in latents.shape[-2:])
            self._engine = shared_engine(self._vae.runtime, model.decoder(width, height))
        # One at a time: the memory that three of them take is the caches'.
        frames = latents.to(self._vae.runtime.device, torch.float32).split(1)
        return torch.cat([self._engine(frame) for frame in frames])
