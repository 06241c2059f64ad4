"""Model: everything the stream needs of a diffusion model, whatever form its weights came in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from engines.base import Input, Network

Prediction = Literal["epsilon", "v_prediction", "sample"]


class Tokenize(Protocol):
    """Text to token ids."""

    def __call__(self, text: str) -> Tensor:
        """int64 [1, text_length]; longer texts are cut."""
        ...


@dataclass(frozen=True, slots=True)
class Style:
    """A prompt that the model is known to follow."""

    name: str
    prompt: str
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Model:
    """A loaded model: facts at hand, networks built only when an engine asks for them.

    Shapes: F pictures of height H and width W; latents [F, C, H/f, W/f], C ``latent_channels``, f ``latent_stride``.

    Attributes:
        name: as the user named it.
        key: content fingerprint of all weights, LoRA files and their scales, and the VAE.
        prediction: what the UNet predicts.
        alphas_cumprod: float32 [T], the training schedule.
        latent_channels: C.
        latent_stride: f, pixels for each latent, 8 for all models here.
        image_conditioned: the UNet takes the clean latent as C further channels (in_channels = 2 C).
        text_length: tokens in a prompt.
        text_width: size of one token's embedding.
        tokenize: text to ids.
        make_encoder: module, uint8 [F, H, W, 3] RGB to scaled clean latents float32 [F, C, h, w] (no sampling).
        make_decoder: module, scaled latents [F, C, h, w] to uint8 [F, H, W, 3] RGB.
        make_unet: module, (x [B, C or 2 C, h, w], t int64 [B], text [B, L, D]) to prediction [B, C, h, w].
        make_text_encoder: module, ids int64 [1, L] to float32 [1, L, D].
        styles: prompts it is known to follow; empty when it follows free text.
        moods: prompts for light and colour, which go with every style.
        default_size: width and height it was made for.
    """

    name: str
    key: str
    prediction: Prediction
    alphas_cumprod: Tensor
    latent_channels: int
    image_conditioned: bool
    text_length: int
    text_width: int
    tokenize: Tokenize
    make_encoder: Callable[[], nn.Module]
    make_decoder: Callable[[], nn.Module]
    make_unet: Callable[[], nn.Module]
    make_text_encoder: Callable[[], nn.Module]
    styles: tuple[Style, ...] = ()
    moods: tuple[Style, ...] = ()
    latent_stride: int = 8
    default_size: tuple[int, int] = (512, 512)

    def encoder(self, width: int, height: int) -> Network:
        """Pictures to latents, at one size."""
        picture = Input("picture", (height, width, 3), torch.uint8)
        return Network("encoder", self.key, (picture,), self.make_encoder)

    def decoder(self, width: int, height: int) -> Network:
        """Latents to pictures, at one size."""
        latent = Input("latent", self.latent_shape(width, height), torch.float32)
        return Network("decoder", self.key, (latent,), self.make_decoder)

    def unet(self, width: int, height: int) -> Network:
        """The denoiser, at one size."""
        c, h, w = self.latent_shape(width, height)
        channels = 2 * c if self.image_conditioned else c
        inputs = (
            Input("sample", (channels, h, w), torch.float32),
            # Whole numbers: an engine of low precision would round a float of 499 to 500.
            Input("timestep", (), torch.int64),
            Input("text", (self.text_length, self.text_width), torch.float32),
        )
        return Network("unet", self.key, inputs, self.make_unet)

    def text_encoder(self) -> Network:
        """Token ids to embeddings."""
        return Network("text", self.key, (Input("ids", (self.text_length,), torch.int64),), self.make_text_encoder)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of one picture's latent."""
        return self.latent_channels, height // self.latent_stride, width // self.latent_stride
