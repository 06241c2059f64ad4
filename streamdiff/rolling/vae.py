"""Video VAEs as streams: pictures to latent frames and back, a few at a time, equal to doing all of them at once.

``VideoVae`` is what a rolling stream needs of one; ``WanVae`` is diffusers' AutoencoderKLWan with its convolutions'
memory kept from call to call, in a list of the stream's own.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class VideoEncoder(Protocol):
    """Encodes one video, picture by picture; remembers what it has seen."""

    @property
    def wanted(self) -> int:
        """Pictures that the next latent frame is made of."""
        ...

    def __call__(self, pictures: Tensor) -> Tensor:
        """The next latent frame.

        Args:
            pictures: the next ``wanted`` pictures, uint8 [n, H, W, 3] RGB.

        Returns:
            [1, C, h, w] float32, normalised as the transformer takes it.
        """
        ...


class VideoDecoder(Protocol):
    """Decodes one video, latent frame by latent frame; remembers what it has seen."""

    def __call__(self, latents: Tensor) -> Tensor:
        """The pictures of the next latent frames.

        Args:
            latents: [F, C, h, w] float32, normalised.

        Returns:
            uint8 [n, H, W, 3] RGB: for the first latent frame one picture, for each later one ``stride`` of them.
        """
        ...


class VideoVae(Protocol):
    """Weights that sessions share; each video has an encoder and a decoder of its own.

    The first latent frame is made of one picture, each later one of ``stride``: 4 for Wan's, 1 for a VAE of single
    pictures.
    """

    @property
    def channels(self) -> int:
        """C, of a latent."""
        ...

    @property
    def stride(self) -> int:
        """Pictures in a latent frame after the first."""
        ...

    def ready(self, width: int, height: int) -> None:
        """Build what a size of picture needs, which may take seconds; without it that happens at the first picture.

        Raises:
            EngineError: it cannot be built here.
        """
        ...

    def encoder(self) -> VideoEncoder:
        """An encoder at the beginning of a video."""
        ...

    def decoder(self) -> VideoDecoder:
        """A decoder at the beginning of a video."""
        ...


class WanVae:
    """AutoencoderKLWan (Wan 2.1's, 16 channels, 8 x 8 pixels by 4 pictures in a latent), as a ``VideoVae``.

    Attributes:
        vae: the AutoencoderKLWan.
        channels: C.
        stride: 4.
    """

    def __init__(self, vae: Any) -> None:
        """Take over a VAE, in any precision and on any device."""
        self.vae = vae.eval().requires_grad_(False)
        self.channels = int(vae.config.z_dim)
        self.stride = 2 ** sum(bool(halved) for halved in vae.config.temperal_downsample)
        parameter: Tensor = next(vae.parameters())
        self.dtype, self.device = parameter.dtype, parameter.device
        shape = (1, self.channels, 1, 1, 1)
        self.mean = torch.tensor(vae.config.latents_mean, device=self.device).view(shape)
        self.std = torch.tensor(vae.config.latents_std, device=self.device).view(shape)

    def ready(self, width: int, height: int) -> None:
        """Nothing: it takes any size."""

    def encoder(self) -> VideoEncoder:
        """An encoder at the beginning of a video."""
        return _WanEncoder(self)

    def decoder(self) -> VideoDecoder:
        """A decoder at the beginning of a video."""
        return _WanDecoder(self)


class _WanEncoder:
    def __init__(self, weights: WanVae) -> None:
        self._weights = weights
        self._memory = _no_memory(weights.vae.encoder)
        self._begun = False

    @property
    def wanted(self) -> int:
        return self._weights.stride if self._begun else 1

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        weights = self._weights
        x = pictures.permute(3, 0, 1, 2)[None].to(weights.device).float() / 127.5 - 1
        hidden = weights.vae.encoder(x.to(weights.dtype), feat_cache=self._memory, feat_idx=[0])
        self._begun = True
        # The distribution's mean, no sampling.
        mean = weights.vae.quant_conv(hidden)[:, : weights.channels].float()
        return ((mean - weights.mean) / weights.std)[0].transpose(0, 1)


class _WanDecoder:
    def __init__(self, weights: WanVae) -> None:
        self._weights = weights
        self._memory = _no_memory(weights.vae.decoder)
        self._begun = False

    @torch.inference_mode()
    def __call__(self, latents: Tensor) -> Tensor:
        weights, parts = self._weights, list[Tensor]()
        for frame in latents.to(weights.device).split(1):
            z = frame.transpose(0, 1)[None] * weights.std + weights.mean
            hidden = weights.vae.post_quant_conv(z.to(weights.dtype))
            parts.append(
                weights.vae.decoder(hidden, feat_cache=self._memory, feat_idx=[0], first_chunk=not self._begun)
            )
            self._begun = True
        video = torch.cat(parts, dim=2)[0].permute(1, 2, 3, 0).float()
        return (video * 127.5 + 127.5).clamp(0, 255).round().to(torch.uint8)


def _no_memory(half: Any) -> list[Any]:
    """What the causal convolutions of one half remember before the first frame: nothing, one entry each."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

    return [None] * sum(isinstance(module, WanCausalConv3d) for module in half.modules())
