"""The pattern that shows a decoder where the latent cells begin: its formula, and what it makes possible."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdiff.models.cell_phase import CONFIG_KEY, with_phase
from streamdiff.models.load import load_model
from streamdiff.models.wrappers import Decoder
from tests.models.toys import make_folder

SIZE = 0.5


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 7), st.floats(0.125, 2, width=32))
def test_the_pattern_is_its_formula(channels: int, height: int, width: int, size: float) -> None:
    latent = draw(2, channels, height, width)
    got = with_phase(latent, size)
    pattern = [
        [[size * (-1) ** (y if c % 2 else x) for x in range(width)] for y in range(height)] for c in range(channels)
    ]
    torch.testing.assert_close(got, latent + torch.tensor(pattern))
    assert with_phase(latent, 0) is latent


def decoder(folder: Path, phase: float | None) -> Decoder:
    path = folder / "vae" / "config.json"
    config: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **({} if phase is None else {CONFIG_KEY: phase})}))
    made = load_model(folder).make_decoder()
    assert isinstance(made, Decoder)
    return made.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model") / "tinyvae", "tinyvae")


def test_equal_latents_are_one_colour_without_it_and_a_screen_with_it(folder: Path) -> None:
    latent = draw(1, 4, 1, 1).expand(1, 4, 24, 24).contiguous()
    middle = slice(72, 120)  # far from the borders, whose zeros are no part of the pattern
    with torch.inference_mode():
        plain = decoder(folder, None).picture(latent)[..., middle, middle]
        assert float(plain.flatten(2).std(-1).max()) < 1e-5
        screen = decoder(folder, SIZE).picture(latent)[..., middle, middle]
        assert float(screen.flatten(2).std(-1).min()) > 1e-3
        # Two cells on, in either direction, it is the same again.
        torch.testing.assert_close(screen[..., 16:], screen[..., :-16], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(screen[..., 16:, :], screen[..., :-16, :], atol=1e-5, rtol=1e-4)


def test_a_models_configuration_asks_for_it(folder: Path) -> None:
    from diffusers import AutoencoderTiny

    made = decoder(folder, SIZE)
    assert made.phase == SIZE
    vae: Any = AutoencoderTiny.from_pretrained(folder / "vae")
    latent = draw(2, 4, 8, 9)
    with torch.inference_mode():
        want = vae.decode(with_phase(latent / made.scale, SIZE)).sample
        torch.testing.assert_close(made.picture(latent), want, atol=1e-5, rtol=1e-5)
