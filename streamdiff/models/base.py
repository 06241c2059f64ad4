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
        make_text_encoder: module, ids int64 [1, L] to float32 [1, L, D].
        make_conditioner: module, (t int64 [B], text [B, L, D]) to a row [B, M] of all that the denoiser needs of both.
        make_denoiser: module, (x [B, C or 2 C, h, w], row [B, M]) to prediction [B, C, h, w]; asked for the deep
            features too, [B, C + D, h, w].
        make_shallow: module, (x, row, deep [B, D, h, w]) to prediction: the outermost blocks alone.
        deep_channels: D; 0 where the UNet has one level and nothing that could be kept.
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
    make_text_encoder: Callable[[], nn.Module]
    make_conditioner: Callable[[], nn.Module]
    make_denoiser: Callable[[bool], nn.Module]
    make_shallow: Callable[[], nn.Module]
    deep_channels: int
    styles: tuple[Style, ...] = ()
    moods: tuple[Style, ...] = ()
    latent_stride: int = 8
    default_size: tuple[int, int] = (512, 512)

    def encoder(self, width: int, height: int) -> Network:
        """Pictures to latents, at one size."""
        picture = Input("picture", (height, width, 3), torch.uint8)
        return self._network("encoder", (picture,), self.make_encoder)

    def decoder(self, width: int, height: int) -> Network:
        """Latents to pictures, at one size."""
        latent = Input("latent", self.latent_shape(width, height), torch.float32)
        return self._network("decoder", (latent,), self.make_decoder)

    def denoiser(self, width: int, height: int, conditioning: int, *, deep: bool = False) -> Network:
        """The denoiser, at one size.

        Args:
            width: of the picture.
            height: of the picture.
            conditioning: M, the width of the conditioner's rows.
            deep: give the deep features behind the prediction.
        """
        inputs = self._sample(width, height), Input("conditioning", (conditioning,), torch.float32)
        return self._network("unet-deep" if deep else "unet", inputs, lambda: self.make_denoiser(deep))

    def shallow(self, width: int, height: int, conditioning: int) -> Network:
        """The denoiser's outermost blocks around kept deep features; arguments as ``denoiser``."""
        sample = self._sample(width, height)
        deep = Input("deep", (self.deep_channels, *sample.shape[1:]), torch.float32)
        inputs = sample, Input("conditioning", (conditioning,), torch.float32), deep
        return self._network("unet-shallow", inputs, self.make_shallow)

    def _network(
        self, name: str, inputs: tuple[Input, ...], build: Callable[[], nn.Module], *, exact: bool = False
    ) -> Network:
        return Network(name, self.key, inputs, build, model=self.name, exact=exact)

    def _sample(self, width: int, height: int) -> Input:
        c, h, w = self.latent_shape(width, height)
        return Input("sample", (2 * c if self.image_conditioned else c, h, w), torch.float32)

    def text_encoder(self) -> Network:
        """Token ids to embeddings."""
        ids = Input("ids", (self.text_length,), torch.int64)
        return self._network("text", (ids,), self.make_text_encoder, exact=True)

    def conditioner(self) -> Network:
        """Timesteps and embeddings to the denoiser's rows."""
        # Whole numbers: an engine of low precision would round a float of 499 to 500.
        timestep = Input("timestep", (), torch.int64)
        text = Input("text", (self.text_length, self.text_width), torch.float32)
        return self._network("conditioner", (timestep, text), self.make_conditioner, exact=True)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of one picture's latent."""
        return self.latent_channels, height // self.latent_stride, width // self.latent_stride
