"""PictureVae: a picture model's VAE as that of a video, picture by picture; it runs on an engine."""

from __future__ import annotations

import threading
from collections import OrderedDict

import torch
from torch import Tensor

from engines.base import Engine, Runtime
from engines.pool import shared_engine
from streamdiff.models.base import Model
from streamdiff.rolling.vae import VideoDecoder, VideoEncoder

KEPT = 4
"""Sizes whose engines are kept while nobody uses them: changing back to one costs nothing."""


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
        self._engines: OrderedDict[tuple[int, int], tuple[Engine, Engine]] = OrderedDict()
        self._lock = threading.Lock()

    def engines(self, width: int, height: int) -> tuple[Engine, Engine]:
        """Encoder and decoder for pictures of a size.

        Raises:
            EngineError: they cannot be built here.
        """
        size = width, height
        with self._lock:
            found = self._engines.get(size)
        if found is None:
            # Not under the lock: whoever uses another size meanwhile does not wait for this one.
            networks = self.model.encoder(*size), self.model.decoder(*size)
            encoder, decoder = (shared_engine(self.runtime, network) for network in networks)
            found = encoder, decoder
        with self._lock:
            self._engines[size] = found
            self._engines.move_to_end(size)
            if len(self._engines) > KEPT:
                self._engines.popitem(last=False)
        return found

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
