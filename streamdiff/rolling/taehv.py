"""A tiny video decoder in the layout of TAEHV (Tiny AutoEncoder for video latents): the fast way to see a stream.

Written from the layout of its files: a sequence of layers ``decoder.0`` ... in which memory blocks see the frame before
and growing layers make two frames of one. It takes the transformer's latents as they are, without the VAE's mean and
deviation, and gives pictures in 0..1. It stands beside the VAE's own encoder.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from streamdiff.errors import ModelError
from streamdiff.rolling.vae import VideoDecoder, VideoEncoder, VideoVae
from streamdiff.rolling.weights import load_tensors

STAGES = 3
"""Stages that double the size; the second and third double the rate as well."""
MEMORIES = 3
"""Memory blocks in a stage."""


class MemoryBlock(nn.Module):
    """A residual block over a frame and the frame before it."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        layers = [_conv(2 * into, out), nn.ReLU(), _conv(out, out), nn.ReLU(), _conv(out, out)]
        self.conv = nn.Sequential(*layers)
        self.skip = nn.Conv2d(into, out, 1, bias=False) if into != out else nn.Identity()

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Frames [n, c, h, w], each with the one before it, to [n, c', h, w]."""
        return torch.relu(self.conv(torch.cat([x, before], 1)) + self.skip(x))


class Grow(nn.Module):
    """Makes ``rate`` frames of each."""

    def __init__(self, channels: int, rate: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels * rate, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] to [rate n, c, h, w]."""
        return self.conv(x).reshape(-1, *x.shape[1:])


class Squash(nn.Module):
    """Keeps latents within -3 .. 3, softly."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return torch.tanh(x / 3) * 3


def make_decoder(channels: int, widths: tuple[int, int, int, int]) -> nn.Sequential:
    """The layers, in the order in which TAEHV's files number them.

    Args:
        channels: C, of a latent.
        widths: channels of each stage and of the output layers.
    """
    layers: list[nn.Module] = [Squash(), _conv(channels, widths[0]), nn.ReLU()]
    for i in range(STAGES):
        layers += [MemoryBlock(widths[i], widths[i]) for _ in range(MEMORIES)]
        layers += [nn.Upsample(scale_factor=2), Grow(widths[i], 1 if i == 0 else 2)]
        layers += [nn.Conv2d(widths[i], widths[i + 1], 3, padding=1, bias=False)]
    return nn.Sequential(*layers, nn.ReLU(), _conv(widths[-1], 3))


class TinyDecoding:
    """A VAE whose decoder is a tiny one, as a ``VideoVae``.

    Attributes:
        channels: C.
        stride: 4.
    """

    def __init__(self, vae: VideoVae, layers: nn.Sequential) -> None:
        """Pair a VAE, for encoding, with a decoder's layers, both for the same latents."""
        self._vae = vae
        self._layers = layers.eval().requires_grad_(False)
        self.channels = vae.channels
        self.stride = vae.stride

    def ready(self, width: int, height: int) -> None:
        """As the VAE."""
        self._vae.ready(width, height)

    def encoder(self) -> VideoEncoder:
        """The VAE's own."""
        return self._vae.encoder()

    def decoder(self) -> VideoDecoder:
        """A tiny decoder at the beginning of a video."""
        return TinyDecoder(self._layers)


class TinyDecoder:
    """Decodes one video; keeps the last frame that each memory block has seen."""

    def __init__(self, layers: nn.Sequential) -> None:
        self._layers = layers
        self._before: list[Tensor | None] = [None] * len(layers)
        self._begun = False

    @torch.inference_mode()
    def __call__(self, latents: Tensor) -> Tensor:
        """[F, C, h, w] to uint8 [n, 8 h, 8 w, 3]; of the first latent frame, whose memory is empty, only the last."""
        parameter = next(self._layers.parameters())
        x = latents.to(parameter.device, parameter.dtype)
        for i, layer in enumerate(self._layers):
            if isinstance(layer, MemoryBlock):
                first = self._before[i]
                before = torch.cat([torch.zeros_like(x[:1]) if first is None else first, x[:-1]])
                # A copy, or all frames of this call would be kept for the last one's sake.
                self._before[i] = x[-1:].clone()
                x = layer(x, before)
            else:
                x = layer(x)
        pictures = x if self._begun else x[2 ** (STAGES - 1) - 1 :]
        self._begun = True
        return (pictures.float() * 255).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def load_taehv(path: Path, channels: int) -> nn.Sequential:
    """The decoder of a TAEHV file, such as taew2_1 for Wan 2.1's latents; float32, on the CPU.

    Args:
        path: ``.pth``, read as weights only, or ``.safetensors``.
        channels: C of the latents that it must be for.

    Raises:
        ModelError: it cannot be read, is no such file, or is for other latents.
    """
    tensors = {
        name.removeprefix("decoder."): value
        for name, value in load_tensors(path).items()
        if isinstance(value, Tensor) and name.startswith("decoder.")
    }
    try:
        ends = [1, *(3 + (i + 1) * (MEMORIES + 3) - 1 for i in range(STAGES))]
        widths = tuple(len(tensors[f"{i}.weight"]) for i in ends)
        into = int(tensors["1.weight"].shape[1])
        layers = make_decoder(into, (widths[0], widths[1], widths[2], widths[3]))
        layers.load_state_dict(tensors)
    except (KeyError, RuntimeError, IndexError):
        raise ModelError(f"{path} is not a tiny video VAE in TAEHV's layout; give taew2_1 or one like it") from None
    if into != channels:
        raise ModelError(f"{path} decodes latents of {into} channels, and this model's have {channels}")
    return layers.float()


def _conv(into: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(into, out, 3, padding=1)
