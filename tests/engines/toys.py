"""Small networks of diffusers' own classes, and random inputs for any network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from engines.base import Input, Network

LATENT = Input("latent", (4, 8, 8), torch.float32)
PICTURE = Input("picture", (16, 24, 3), torch.uint8)


class Small(nn.Module):
    """Several inputs, one of them a whole number and one of them bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.table = nn.Embedding(1000, 16)
        self.out = nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, picture: Tensor, t: Tensor) -> Tensor:
        x = self.conv(picture.permute(0, 3, 1, 2).float() / 255)
        return self.out(torch.relu(x + self.table(t)[:, :, None, None]))


class Mixed(nn.Module):
    """A convolution, and products of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 16, 3, padding=1)
        self.wide, self.narrow = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, latent: Tensor) -> Tensor:
        x = self.conv(latent).permute(0, 2, 3, 1)
        return self.narrow(torch.relu(self.wide(x))).permute(0, 3, 1, 2)


class Unet(nn.Module):
    """SD-Turbo's UNet, narrow and of two levels: its blocks, attention heads by level and linear projections."""

    def __init__(self) -> None:
        super().__init__()
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        made: Any = UNet2DConditionModel(
            sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=12, attention_head_dim=(1, 2), use_linear_projection=True,
        )  # fmt: skip
        self.unet = made

    def forward(self, latent: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        return self.unet(latent, timestep, text, return_dict=False)[0]


class TinyVae(nn.Module):
    """One half of a narrow AutoencoderTiny."""

    def __init__(self, half: str) -> None:
        super().__init__()
        from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

        widths, blocks = (8, 8, 8, 8), (1, 1, 1, 1)
        vae: Any = AutoencoderTiny(
            encoder_block_out_channels=widths, decoder_block_out_channels=widths, num_encoder_blocks=blocks,
            num_decoder_blocks=blocks,
        )  # fmt: skip
        self.half_of_vae = vae.encoder if half == "encoder" else vae.decoder

    def forward(self, x: Tensor) -> Tensor:
        return self.half_of_vae(x)


def distinct(module: nn.Module) -> nn.Module:
    """The module with parameters of which no two are equal: fresh norms are all ones, fresh biases all zeros."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.randn_like(parameter) * 0.05
    return module


def _network(name: str, inputs: tuple[Input, ...], make: type[nn.Module], *args: str, seed: int = 0) -> Network:
    def build() -> nn.Module:
        torch.manual_seed(seed)
        return distinct(make(*args)).eval()

    return Network(name, f"toy {name} {seed}", inputs, build)


def small(seed: int = 0) -> Network:
    return _network("small", (PICTURE, Input("t", (), torch.int64)), Small, seed=seed)


def mixed() -> Network:
    return _network("mixed", (LATENT,), Mixed)


def unet() -> Network:
    inputs = (LATENT, Input("timestep", (), torch.int64), Input("text", (7, 12), torch.float32))
    return _network("unet", inputs, Unet)


def encoder() -> Network:
    return _network("encoder", (Input("picture", (3, 32, 24), torch.float32),), TinyVae, "encoder")


def decoder() -> Network:
    return _network("decoder", (LATENT,), TinyVae, "decoder")


def random_inputs(network: Network, batch: int, seed: int = 1) -> list[Tensor]:
    """Numbers that fit the network's inputs: normal, bytes, or whole numbers below 48 (timesteps and token ids)."""
    generator = torch.Generator().manual_seed(seed)

    def one(given: Input) -> Tensor:
        shape = (batch, *given.shape)
        if given.dtype.is_floating_point:
            return torch.randn(shape, generator=generator, dtype=given.dtype)
        most = 256 if given.dtype == torch.uint8 else 48
        return torch.randint(0, most, shape, generator=generator, dtype=given.dtype)

    return [one(given) for given in network.inputs]


def expected(network: Network, inputs: list[Tensor]) -> Tensor:
    """What PyTorch makes of them in fp32."""
    with torch.inference_mode():
        return network.build().eval()(*inputs)


def difference(got: Tensor, want: Tensor) -> float:
    """Relative L2 error; of pictures, the largest difference in levels."""
    assert got.shape == want.shape and got.dtype == want.dtype
    if want.dtype == torch.uint8:
        return float((got.int() - want.int()).abs().max())
    return float((got - want).norm() / want.norm())
