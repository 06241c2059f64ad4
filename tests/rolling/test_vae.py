"""Streaming decode and encode against doing the whole video at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from streamdiff.errors import ModelError
from streamdiff.rolling.taehv import TinyDecoder, TinyDecoding, load_taehv, make_decoder
from streamdiff.rolling.vae import VideoEncoder, WanVae
from tests.rolling.toys import CHANNELS, toy_vae

WIDTHS = (8, 6, 4, 4)


@pytest.fixture(scope="module")
def vae() -> WanVae:
    return toy_vae()


def video(pictures: int) -> Tensor:
    generator = torch.Generator().manual_seed(pictures)
    return torch.randint(0, 256, (pictures, 32, 48, 3), generator=generator, dtype=torch.uint8)


def encode(encoder: VideoEncoder, pictures: Tensor) -> Tensor:
    parts: list[Tensor] = []
    while len(pictures):
        parts.append(encoder(pictures[: encoder.wanted]))
        pictures = pictures[encoder.wanted if len(parts) > 1 else 1 :]
    return torch.cat(parts)


@pytest.mark.parametrize("pictures", [1, 9, 33])
def test_encoding_as_pictures_come_is_encoding_offline(vae: WanVae, pictures: int) -> None:
    given = video(pictures)
    x = given.permute(3, 0, 1, 2)[None] / 127.5 - 1
    with torch.inference_mode():
        offline = (vae.vae.encode(x).latent_dist.mode() - vae.mean) / vae.std
    assert torch.equal(encode(vae.encoder(), given), offline[0].transpose(0, 1))


@pytest.mark.parametrize("calls", [[1], [3, 3, 3], [1, 2, 5, 1], [9]])
def test_decoding_as_blocks_come_is_decoding_offline(vae: WanVae, calls: list[int]) -> None:
    latents = torch.randn(sum(calls), CHANNELS, 4, 6, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        offline = vae.vae.decode(latents.transpose(0, 1)[None] * vae.std + vae.mean).sample[0]
    whole = (offline.permute(1, 2, 3, 0) * 127.5 + 127.5).clamp(0, 255).round().to(torch.uint8)
    decoder = vae.decoder()
    parts = [decoder(part) for part in latents.split(calls)]
    assert [len(part) for part in parts] == [4 * n - (3 if i == 0 else 0) for i, n in enumerate(calls)]
    assert torch.equal(torch.cat(parts), whole)
    assert whole.float().std() > 20  # a picture, not one colour


def test_two_videos_of_one_vae_do_not_meet(vae: WanVae) -> None:
    latents = torch.randn(2, 3, CHANNELS, 4, 6, generator=torch.Generator().manual_seed(2))
    alone = [torch.cat([d(part) for part in v.split(1)]) for v in latents for d in [vae.decoder()]]
    decoders = vae.decoder(), vae.decoder()
    mixed: list[list[Tensor]] = [[], []]
    for i in range(3):
        for n in (1, 0):
            mixed[n].append(decoders[n](latents[n, i : i + 1]))
    assert all(torch.equal(torch.cat(parts), whole) for parts, whole in zip(mixed, alone, strict=True))


def offline_tiny(layers: nn.Sequential, latents: Tensor) -> Tensor:
    """TAEHV's decoder over a whole video, from its names: memory is the frame before, zeros before the first."""
    w = dict(layers.state_dict())

    def conv(name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, w[name + ".weight"], w.get(name + ".bias"), padding=w[name + ".weight"].shape[-1] // 2)

    x = F.relu(conv("1", 3 * torch.tanh(latents / 3)))
    for stage, first in enumerate((3, 9, 15)):
        for i in range(first, first + 3):
            past = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
            y = F.relu(conv(f"{i}.conv.0", torch.cat([x, past], 1)))
            x = F.relu(conv(f"{i}.conv.4", F.relu(conv(f"{i}.conv.2", y))) + x)
        x = conv(f"{first + 4}.conv", F.interpolate(x, scale_factor=2))
        if stage:
            x = x.unflatten(1, (2, -1)).flatten(0, 1)
        x = conv(f"{first + 5}", x)
    return conv("22", F.relu(x))[3:].clamp(0, 1)


@pytest.fixture(scope="module")
def tiny() -> nn.Sequential:
    torch.manual_seed(0)
    return make_decoder(CHANNELS, WIDTHS).eval().requires_grad_(False)


@pytest.mark.parametrize("calls", [[6], [3, 3], [1, 1, 4]])
def test_the_tiny_decoder_is_its_layout_over_the_whole_video(tiny: nn.Sequential, calls: list[int]) -> None:
    latents = 3 * torch.randn(6, CHANNELS, 4, 6, generator=torch.Generator().manual_seed(3))
    wanted = offline_tiny(tiny, latents).permute(0, 2, 3, 1) * 255
    decoder = TinyDecoder(tiny)
    parts = [decoder(part) for part in latents.split(calls)]
    assert len(parts[0]) == 4 * calls[0] - 3
    # uint8 against real numbers: half a step, and what float32 rounds.
    assert (torch.cat(parts).float() - wanted).abs().max() <= 0.5 + 1e-3
    assert wanted.std() > 5


def test_a_tiny_decoder_file(tiny: nn.Sequential, vae: WanVae, tmp_path: Path) -> None:
    weights = {f"decoder.{name}": value for name, value in tiny.state_dict().items()}
    weights["encoder.0.weight"] = torch.zeros(4, 3, 3, 3)
    torch.save(weights, tmp_path / "taew.pth")
    save_file(weights, tmp_path / "taew.safetensors")
    latents = torch.randn(3, CHANNELS, 4, 6)
    wanted = TinyDecoder(tiny)(latents)
    for name in ("taew.pth", "taew.safetensors"):
        pair = TinyDecoding(vae, load_taehv(tmp_path / name, CHANNELS))
        assert torch.equal(pair.decoder()(latents), wanted)
        assert (pair.channels, pair.stride) == (CHANNELS, 4)
    assert torch.equal(encode(pair.encoder(), video(5)), encode(vae.encoder(), video(5)))
    with pytest.raises(ModelError, match="decodes latents of 4 channels, and this model's have 16"):
        load_taehv(tmp_path / "taew.pth", 16)
    torch.save({"model": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="is not a tiny video VAE in TAEHV's layout"):
        load_taehv(tmp_path / "other.pth", CHANNELS)
