"""Models with random weights in the shapes of SD-Turbo and Stable Diffusion 1.5: speed does not depend on the weights.

Weights are drawn once a shape and shared by all that is built from it, ours and diffusers'; nothing is saved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from streamdiff.models.base import Model
from streamdiff.models.split import Conditioner, Denoiser, Shallow
from streamdiff.models.wrappers import Decoder, Encoder, TextEncoder

TEXT_LENGTH = 77
TRAIN_STEPS = 1000
VOCABULARY = 1000


@dataclass(frozen=True)
class Shape:
    """A model's layout.

    Attributes:
        name: for people and for the report.
        width: of a text embedding.
        size: of a picture's side, in pixels.
        unet: what differs from diffusers' defaults, which are Stable Diffusion 1's layout.
        vae: of AutoencoderTiny, whose defaults are TAESD's.
    """

    name: str
    width: int
    size: int = 512
    unet: Mapping[str, Any] = field(default_factory=dict)
    vae: Mapping[str, Any] = field(default_factory=dict)


SHAPES = (
    Shape("sd-turbo", 1024, unet={"attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True}),
    Shape("sd-1.5", 768),
)

_NARROW = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
TOYS = (
    Shape(
        "toy", 16, 64, vae=_NARROW,
        unet={
            "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 2,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "sample_size": 8,
        },
    ),
)  # fmt: skip


class RandomModel:
    """All that can be built of one shape."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    @property
    def parameters(self) -> int:
        """Of the UNet as it is published."""
        return sum(parameter.numel() for parameter in self._empty_unet().parameters())

    def unet(self) -> Any:
        """A UNet2DConditionModel over the shared weights."""
        return _over(self._empty_unet, self._unet_weights)

    def vae(self) -> Any:
        """An AutoencoderTiny over the shared weights."""
        return _over(self._empty_vae, self._vae_weights)

    def model(self) -> Model:
        """The model, as it would have been loaded."""
        channels = self._empty_unet().config.block_out_channels
        return Model(
            name=f"{self.shape.name}, random weights",
            key=hashlib.sha256(repr(self.shape).encode()).hexdigest()[:32],
            prediction="epsilon",
            alphas_cumprod=_alphas_cumprod(),
            latent_channels=4,
            image_conditioned=False,
            text_length=TEXT_LENGTH,
            text_width=self.shape.width,
            tokenize=_tokenize,
            make_encoder=lambda: Encoder(self.vae()).eval(),
            make_decoder=lambda: Decoder(self.vae()).eval(),
            make_text_encoder=self._text_encoder,
            make_conditioner=lambda: Conditioner(self.unet(), TRAIN_STEPS).eval(),
            make_denoiser=lambda deep: Denoiser(self.unet(), TEXT_LENGTH, None, deep=deep).eval(),
            make_shallow=lambda: Shallow(self.unet(), TEXT_LENGTH, None).eval(),
            deep_channels=channels[1],
            default_size=(self.shape.size, self.shape.size),
        )

    def flops(self) -> dict[str, float]:
        """Floating-point operations of each network for one frame: counted on shapes alone, nothing is computed."""
        from torch.utils.flop_counter import FlopCounterMode

        size = self.shape.size
        denoiser = Denoiser(self._empty_unet(), TEXT_LENGTH, None)
        given = {
            "encoder": (Encoder(self._empty_vae()), torch.empty(1, size, size, 3, dtype=torch.uint8)),
            "unet": (denoiser, torch.empty(1, 4, size // 8, size // 8), torch.empty(1, sum(denoiser.widths))),
            "decoder": (Decoder(self._empty_vae()), torch.empty(1, 4, size // 8, size // 8)),
        }
        found: dict[str, float] = {}
        for name, (module, *inputs) in given.items():
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                module.to("meta")(*(x.to("meta") for x in inputs))
            found[name] = float(counter.get_total_flops())
        return found

    @cached_property
    def _unet_weights(self) -> dict[str, Tensor]:
        return _drawn(self._unet_class(), self._unet_config())

    @cached_property
    def _vae_weights(self) -> dict[str, Tensor]:
        return _drawn(self._vae_class(), self.shape.vae)

    def _unet_config(self) -> dict[str, Any]:
        size = self.shape.size // 8
        return {"sample_size": size, "cross_attention_dim": self.shape.width, **self.shape.unet}

    def _empty_unet(self) -> Any:
        with torch.device("meta"):
            return self._unet_class()(**self._unet_config())

    def _empty_vae(self) -> Any:
        with torch.device("meta"):
            return self._vae_class()(**self.shape.vae)

    @staticmethod
    def _unet_class() -> Any:
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        return UNet2DConditionModel

    @staticmethod
    def _vae_class() -> Any:
        from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

        return AutoencoderTiny

    def _text_encoder(self) -> nn.Module:
        """One layer: it runs once a prompt, and none of it is in what is measured."""
        from transformers import CLIPTextConfig, CLIPTextModel

        config = CLIPTextConfig(
            vocab_size=VOCABULARY, hidden_size=self.shape.width, intermediate_size=64, num_hidden_layers=1,
            num_attention_heads=4, max_position_embeddings=TEXT_LENGTH,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return TextEncoder(CLIPTextModel(config)).eval()


def _drawn(kind: Any, config: Mapping[str, Any]) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(**config).state_dict()


def _over(empty: Any, weights: dict[str, Tensor]) -> Any:
    module = empty()
    module.load_state_dict(weights, assign=True)
    return module.eval().requires_grad_(False)


def _alphas_cumprod() -> Tensor:
    """Stable Diffusion's schedule: scaled linear betas."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, TRAIN_STEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def _tokenize(text: str) -> Tensor:
    ids = [byte % VOCABULARY for byte in text.encode()][:TEXT_LENGTH]
    return torch.tensor([ids + [0] * (TEXT_LENGTH - len(ids))])
