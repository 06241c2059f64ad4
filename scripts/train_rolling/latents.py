"""The picture model, frozen: its VAE, its text encoder, and its UNet, which paints what a rolling model is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from engines.selection import choose
from scripts.train_tiny.data import Pictures
from streamdiff.models.base import Model
from streamdiff.rolling.config import RollingConfig
from streamdiff.rolling.painter import Brushes, Painter
from streamdiff.rolling.picture_vae import PictureVae


class Latents:
    """Pictures and words to what the transformer takes of them, and latents back to pictures."""

    def __init__(self, model: Model, device: torch.device, paint: tuple[int, ...] = (), calm: float = 0.0) -> None:
        """The model's networks on a device; `paint` and `calm` are those of a ``Painter``."""
        self.device = device
        self.tokenize = model.tokenize
        # The engine is twice as fast as the module, and nothing here goes backwards through it.
        runtime = choose("auto", str(device), "fp32" if device.type == "cpu" else None)
        self._encode = PictureVae(model, runtime).encoder()
        self._brushes = Brushes(Painter(model, runtime, paint, calm)) if paint else None
        self._stride = model.latent_stride
        self.text = model.make_text_encoder().to(device)
        self.decoder: nn.Module = model.make_decoder().to(device).requires_grad_(False)

    @torch.no_grad()
    def encode(self, pictures: Pictures) -> Tensor:
        """uint8 [F, H, W, 3] to latents."""
        return self._encode(torch.from_numpy(np.ascontiguousarray(pictures))).to(self.device)

    @torch.no_grad()
    def paint(self, latents: Tensor, prompt: str, level: int, seed: int) -> Tensor:
        """A video's latents [F, C, h, w] painted as ``RollingStream`` has it done; as they are where nothing paints."""
        if self._brushes is None:
            return latents
        height, width = (side * self._stride for side in latents.shape[-2:])
        config = RollingConfig.make(prompt=prompt, level=level, seed=seed, width=width, height=height)
        self._brushes.calm.forget()
        return self._brushes(config)(latents).to(self.device).clone()  # what inference mode made has no gradients

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Prompts' embeddings, [N, L, D]."""
        ids = torch.cat([self.tokenize(prompt) for prompt in prompts])
        embedding: Tensor = self.text(ids.to(self.device))
        return embedding.float()

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pictures [F, 3, H, W], -1 .. 1, with gradients."""
        return self.decoder.picture(latents)
