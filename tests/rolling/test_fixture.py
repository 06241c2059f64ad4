"""Agreement with the released code's own numbers: a toy model through ramp-up, steady state, eviction and drain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from streamdiff.rolling.denoiser import Block, RollingDenoiser
from streamdiff.rolling.schedule import make_ladder
from streamdiff.rolling.window import Span
from tests.rolling.toys import toy_transformer

FIXTURE = Path("../shared/fixtures/rolling_forcing_toy.safetensors")
BAR = 1e-4

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not FIXTURE.is_file(), reason="the shared fixture is not beside the checkout"),
]


class Watched(RollingDenoiser[int]):
    """Keeps every window's x_0, [F, C, h, w], oldest frame first."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.windows: list[Tensor] = []

    def denoise(self, full: list[tuple[int, Block[int]]]) -> list[tuple[Tensor, Block[int]]]:
        found = super().denoise(full)
        self.windows.append(torch.cat([clean for clean, _ in found[::-1]]))
        return found


@pytest.fixture(scope="module")
def given() -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(str(FIXTURE), "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["meta"])


@pytest.fixture(scope="module")
def run(given: tuple[dict[str, Tensor], dict[str, Any]]) -> tuple[Watched, list[Tensor]]:
    """The toy's video, made here from the fixture's noise."""
    tensors, meta = given
    weights = {name[2:]: value for name, value in tensors.items() if name.startswith("w.")}
    span = Span(meta["num_frame_per_block"], meta["max_attention_frames"])
    noise = tensors["noise"][0].split(span.block)
    ladder = make_ladder(shift=meta["shift"])
    transformer = toy_transformer(weights, meta["tiny"]["num_heads"])
    denoiser = Watched(transformer, ladder, span, tuple(noise[0].shape[-2:]), tensors["prompt_embeds"])
    finished: list[Tensor] = []
    for block in range(meta["blocks"]):
        # Block b is brought to level i for window b + i, from what window b + i - 1 predicted.
        later = [tensors[f"renoise.{block + i - 1:03d}.{block:03d}"][0] for i in range(1, len(ladder))]
        out = denoiser.push(torch.zeros_like(noise[block]), torch.stack([noise[block], *later]), block)
        if out is not None:
            assert out[1] == len(finished)
            finished.append(out[0])
    while (out := denoiser.advance()) is not None:
        finished.append(out[0])
    return denoiser, finished


def test_the_ladder(given: tuple[dict[str, Tensor], dict[str, Any]]) -> None:
    assert make_ladder().timesteps == tuple(given[0]["denoising_step_list"].tolist())


def test_every_window(given: tuple[dict[str, Tensor], dict[str, Any]], run: tuple[Watched, list[Tensor]]) -> None:
    tensors, meta = given
    wanted = [tensors[f"call.{i:03d}.x0"][0] for i, call in enumerate(meta["calls"]) if not call["clean_pass"]]
    assert len(run[0].windows) == len(wanted) == meta["blocks"] + 4
    for i, (window, reference) in enumerate(zip(run[0].windows, wanted, strict=True)):
        assert window.shape == reference.shape
        assert (window - reference).abs().max() <= BAR, f"window {i}"


def test_the_video(given: tuple[dict[str, Tensor], dict[str, Any]], run: tuple[Watched, list[Tensor]]) -> None:
    video = torch.cat(run[1])
    reference = given[0]["latents"][0]
    assert video.shape == reference.shape
    assert (video - reference).abs().max() <= BAR
