"""The autoencoder: a folded training form, and its export into diffusers' AutoencoderTiny.

AutoencoderTiny with no residual block at full resolution begins with two convolutions that have nothing between
them (3 -> W at full size, then W -> W with stride 2), and ends with another such pair. Two linear maps in a row are
one; here the first encoder convolution and the last decoder convolution are held to their centre tap (they only pass
three channels through), so that each pair equals ONE 3x3 convolution exactly, also at the borders. That one is trained
directly, and an engine can fold the exported pair back.
"""

from __future__ import annotations

from typing import cast

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from streamdiff.models.cell_phase import CONFIG_KEY, with_phase

from .config import VaeConfig


class Block(nn.Module):
    """Residual block with the parameter names of diffusers' AutoencoderTinyBlock. [N, W, h, w] -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, W, h, w] -> [N, W, h, w]."""
        return torch.relu(self.conv(x) + x)


class FoldedVae(nn.Module):
    """The autoencoder as it is trained. Pictures are [N, 3, H, W] in -1..1, latents [N, C, H/8, W/8]."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        if config.encoder_blocks[0] or config.decoder_blocks[-1]:
            raise ValueError("folding needs zero blocks at full resolution")
        width = config.width
        head = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        encoder: list[nn.Module] = [head]
        for i, blocks in enumerate(config.encoder_blocks[1:]):
            if i:
                encoder.append(nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False))
            encoder += [Block(width) for _ in range(blocks)]
        encoder.append(nn.Conv2d(width, config.latent_channels, 3, padding=1))
        decoder: list[nn.Module] = [nn.Conv2d(config.latent_channels, width, 3, padding=1), nn.ReLU()]
        for i, blocks in enumerate(config.decoder_blocks[:-1]):
            decoder += [Block(width) for _ in range(blocks)]
            decoder.append(nn.Upsample(scale_factor=2, mode="nearest"))
            last = i == len(config.decoder_blocks) - 2
            decoder.append(nn.Conv2d(width, 3 if last else width, 3, padding=1, bias=last))
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder)
        self.phase = config.cell_phase

    def encode(self, picture: Tensor) -> Tensor:
        """[N, 3, H, W] in -1..1 -> [N, C, H/8, W/8]."""
        return self.encoder(picture.add(1).div(2))

    def decode(self, latent: Tensor) -> Tensor:
        """[N, C, h, w] -> [N, 3, 8h, 8w], about -1..1."""
        return self.decoder(torch.tanh(with_phase(latent, self.phase) / 3) * 3).mul(2).sub(1)


def to_autoencoder_tiny(vae: FoldedVae, config: VaeConfig) -> AutoencoderTiny:
    """The same function as a diffusers model, in fp32."""
    width = config.width
    tiny = AutoencoderTiny(
        latent_channels=config.latent_channels,
        encoder_block_out_channels=(width,) * len(config.encoder_blocks),
        decoder_block_out_channels=(width,) * len(config.decoder_blocks),
        num_encoder_blocks=config.encoder_blocks,
        num_decoder_blocks=config.decoder_blocks,
        scaling_factor=1.0,
    )
    state = {name: torch.zeros_like(value) for name, value in tiny.state_dict().items()}
    encoder = {n.removeprefix("encoder."): v for n, v in vae.state_dict().items() if n.startswith("encoder.")}
    decoder = {n.removeprefix("decoder."): v for n, v in vae.state_dict().items() if n.startswith("decoder.")}
    three = torch.arange(3)
    state["encoder.layers.0.weight"][three, three, 1, 1] = 1.0
    state["encoder.layers.1.weight"][:, :3] = encoder.pop("0.weight")
    for name, value in encoder.items():
        index, rest = name.split(".", 1)
        state[f"encoder.layers.{int(index) + 1}.{rest}"] = value
    last = len(vae.decoder) - 1
    state[f"decoder.layers.{last}.weight"][:3] = decoder.pop(f"{last}.weight")
    state[f"decoder.layers.{last + 1}.weight"][three, three, 1, 1] = 1.0
    state[f"decoder.layers.{last + 1}.bias"] = decoder.pop(f"{last}.bias")
    for name, value in decoder.items():
        state[f"decoder.layers.{name}"] = value
    tiny.load_state_dict(state, strict=True)
    tiny.register_to_config(**{CONFIG_KEY: config.cell_phase})
    return cast(AutoencoderTiny, tiny.eval())


def from_autoencoder_tiny(tiny: AutoencoderTiny, vae: FoldedVae) -> None:
    """Copy the weights of a model made by `to_autoencoder_tiny` back into the trained form."""
    given = tiny.state_dict()
    last = len(vae.decoder) - 1
    state = {"encoder.0.weight": given["encoder.layers.1.weight"][:, :3]}
    for name in vae.encoder.state_dict():
        index, rest = name.split(".", 1)
        if int(index):
            state[f"encoder.{name}"] = given[f"encoder.layers.{int(index) + 1}.{rest}"]
    state |= {
        f"decoder.{n}": given[f"decoder.layers.{n}"] for n in vae.decoder.state_dict() if int(n.split(".")[0]) < last
    }
    state[f"decoder.{last}.weight"] = given[f"decoder.layers.{last}.weight"][:3]
    state[f"decoder.{last}.bias"] = given[f"decoder.layers.{last + 1}.bias"]
    vae.load_state_dict(state, strict=True)


def max_difference(vae: FoldedVae, tiny: AutoencoderTiny, size: int = 64) -> float:
    """Largest absolute difference between the trained and the exported form on noise (fp32)."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(2, 3, size, size, generator=generator) * 2 - 1
    vae = vae.float().cpu().eval()
    with torch.no_grad():
        latent = vae.encode(picture)
        difference = (tiny.encode(picture).latents - latent).abs().max()
        decoded = (tiny.decode(with_phase(latent, vae.phase)).sample - vae.decode(latent)).abs().max()
    return float(torch.maximum(difference, decoded))
