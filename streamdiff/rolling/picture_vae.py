"""PictureVae: a picture model's VAE as that of a video, picture by picture; it runs on an engine."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from engines.base import Engine, Runtime
from engines.pool import shared_engine
from streamdiff.models.base import Model
from streamdiff.rolling.by_size import BySize
from streamdiff.rolling.vae import VideoDecoder, VideoEncoder


class PictureVae:
    """A ``VideoVae`` in which every picture is a latent frame of its own; nothing is remembered between them.

    Attributes:
        model: whose VAE it is.
        runtime: what runs it.
        channels: C.
        stride: 1.
    """

    stride = 1

    def __init__(self, model: Model, runtime: Runtime) -> None:
        """A VAE whose engines are made for a size when it is first used, or ``ready``.

        Args:
            model: whose VAE it is.
            runtime: what compiles its networks.
        """
        self.model = model
        self.runtime = runtime
        self.channels = model.latent_channels
        # Of what it needs alone: a method of this would keep this, and the engines with it, until a garbage collection.
        self._engines = BySize(partial(_build, model, runtime))

    def engines(self, width: int, height: int) -> tuple[Engine, Engine]:
        """Encoder and decoder for pictures of a size.

        Raises:
            EngineError: they cannot be built here.
        """
        return self._engines(width, height)

    def ready(self, width: int, height: int) -> None:
        """Build a size's engines.

        Raises:
            EngineError: they cannot be built here.
        """
        self.engines(width, height)

    def encoder(self) -> VideoEncoder:
        """An encoder at the beginning of a video."""
        return _PictureEncoder(self)

    def decoder(self) -> VideoDecoder:
        """A decoder at the beginning of a video."""
        return _PictureDecoder(self)


def _build(model: Model, runtime: Runtime, width: int, height: int) -> tuple[Engine, Engine]:
    networks = model.encoder(width, height), model.decoder(width, height)
    encoder, decoder = (shared_engine(runtime, network) for network in networks)
    return encoder, decoder


class _OfOneVideo:
    """The engines of the size that a video has, held for as long as it lasts, however many other sizes there are."""

    def __init__(self, vae: PictureVae) -> None:
        self._vae = vae
        self._size: tuple[int, int] | None = None
        self._held: tuple[Engine, Engine] | None = None

    def __call__(self, width: int, height: int) -> tuple[Engine, Engine]:
        if self._held is None or self._size != (width, height):
            self._held, self._size = self._vae.engines(width, height), (width, height)
        return self._held


class _PictureEncoder:
    wanted = 1

    def __init__(self, vae: PictureVae) -> None:
        self._vae = vae
        self._engines = _OfOneVideo(vae)

    def __call__(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[1:3]
        encode, _ = self._engines(width, height)
        return encode(pictures.to(self._vae.runtime.device)).float()


class _PictureDecoder:
    def __init__(self, vae: PictureVae) -> None:
        self._vae = vae
        self._engines = _OfOneVideo(vae)

    def __call__(self, latents: Tensor) -> Tensor:
        stride = self._vae.model.latent_stride
        height, width = (side * stride for side in latents.shape[-2:])
        _, decode = self._engines(width, height)
        # One at a time: the memory that three of them take is the caches'.
        return torch.cat([decode(frame) for frame in latents.to(self._vae.runtime.device, torch.float32).split(1)])
