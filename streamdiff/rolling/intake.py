"""Intake: a camera's frames gathered into blocks of latent frames, encoded as they come."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from streamdiff.frame import Frame, Pixels
from streamdiff.rolling.vae import VideoEncoder, VideoVae


class Intake:
    """Gathers frames; encodes each latent frame as soon as its pictures are there, so that the work is spread.

    Attributes:
        frames: those of the block that is being gathered.
    """

    def __init__(self, vae: VideoVae, block: int) -> None:
        """An intake at the beginning of a video.

        Args:
            vae: encodes.
            block: latent frames in a block.
        """
        self._vae = vae
        self._block = block
        self._encoder: VideoEncoder | None = None
        self._pictures: list[Pixels] = []
        self._latents: list[Tensor] = []
        self.frames: list[Frame] = []

    def block_size(self, first: bool) -> int:
        """Pictures in a video's first block, or in a later one."""
        return self._block * self._vae.stride - (self._vae.stride - 1 if first else 0)

    def add(
        self, frame: Frame, *, begun: bool = False, counts: bool = True, paint: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor | None:
        """Take a frame of the stream's size.

        Args:
            frame: the frame.
            begun: the video has blocks already, so that this encoder's first picture is not the decoder's first: the
                encoder is then started with a still copy of it.
            counts: whether it is one of the block's ``frames``; False fills a block up.
            paint: what is done with each latent frame [1, C, h, w].

        Returns:
            The block that it completes, [F, C, h, w]; ``take`` then gives its frames.
        """
        if self._encoder is None:
            self._encoder = self._vae.encoder()
            if begun and self._vae.stride > 1:
                self._encoder(torch.from_numpy(frame.pixels[None]))
        # The caller may use his array again before it is encoded.
        self._pictures.append(frame.pixels.copy())
        if counts:
            self.frames.append(frame)
        if len(self._pictures) < self._encoder.wanted:
            return None
        pictures, self._pictures = self._pictures, []
        latent = self._encoder(torch.from_numpy(np.stack(pictures)))
        self._latents.append(latent if paint is None else paint(latent))
        if len(self._latents) < self._block:
            return None
        latents, self._latents = self._latents, []
        return torch.cat(latents)

    def take(self) -> list[Frame]:
        """The frames of the block, which is begun anew."""
        frames, self.frames = self.frames, []
        self._pictures, self._latents = [], []
        return frames

    def end(self) -> None:
        """The camera's video ends here; what comes next is another."""
        self._encoder = None
