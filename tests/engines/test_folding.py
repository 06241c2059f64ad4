"""Folding is exact, borders included, and leaves alone what it cannot fold."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engines.folding import fold


def centre_only(conv: nn.Conv2d) -> nn.Conv2d:
    with torch.no_grad():
        centre = conv.weight[:, :, 1, 1].clone()
        conv.weight.zero_()
        conv.weight[:, :, 1, 1] = centre
    return conv


def same(module: nn.Module, channels: int, height: int = 10, width: int = 7) -> nn.Module:
    before = copy.deepcopy(module.state_dict())
    folded = fold(module)
    x = torch.randn(2, channels, height, width)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), module(x), atol=2e-5, rtol=2e-5)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    return folded


def convolutions(module: nn.Module) -> int:
    return sum(isinstance(m, nn.Conv2d) for m in module.modules())


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 999), stride=st.sampled_from([1, 2]), bias=st.booleans(), height=st.integers(4, 12),
    width=st.integers(4, 12),
)  # fmt: skip
def test_centre_first(seed: int, stride: int, bias: bool, height: int, width: int) -> None:
    torch.manual_seed(seed)
    first = centre_only(nn.Conv2d(3, 5, 3, padding=1, bias=False))
    folded = same(nn.Sequential(first, nn.Conv2d(5, 4, 3, stride, 1, bias=bias), nn.ReLU()), 3, height, width)
    assert convolutions(folded) == 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), bias=st.tuples(st.booleans(), st.booleans()), height=st.integers(4, 12))
def test_upsampling_then_centre_last(seed: int, bias: tuple[bool, bool], height: int) -> None:
    torch.manual_seed(seed)
    last = centre_only(nn.Conv2d(6, 3, 3, padding=1, bias=bias[1]))
    tail = nn.Sequential(nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(4, 6, 3, padding=1, bias=bias[0]), last)
    folded = same(tail, 4, height)
    assert convolutions(folded) == 1
    assert not any(isinstance(m, nn.Upsample) for m in folded.modules())


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)],
        # A bias before zero padding is not zero padding before a bias.
        [centre_only(nn.Conv2d(3, 4, 3, padding=1)), nn.Conv2d(4, 4, 3, padding=1)],
        [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), centre_only(nn.Conv2d(4, 4, 3, padding=1))],
        [nn.Conv2d(3, 4, 3, padding=0), centre_only(nn.Conv2d(4, 4, 3, padding=1))],
        [nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(3, 3, 3, padding=1)],
        [nn.Upsample(scale_factor=4), nn.Conv2d(3, 3, 3, padding=1)],
        [nn.Upsample(scale_factor=2), nn.Conv2d(3, 64, 3, padding=1)],
    ],
)
def test_what_cannot_be_folded_is_returned_as_it_is(layers: list[nn.Module]) -> None:
    module = nn.Sequential(*layers)
    assert fold(module) is module
