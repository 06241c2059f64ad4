"""Exact rewriting of convolutions that have no activation between them.

Compilers do not do this. AutoencoderTiny with no block at full resolution begins and ends with two convolutions in a
row; where one of a pair has only its centre tap, the pair is one convolution, borders included. And a nearest
upsampling by 2 followed by a 3x3 convolution to few channels is a 3x3 convolution at the low resolution to four times
as many, followed by a pixel shuffle: the four phases of an output cell see the same input pixels.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn

FEW_CHANNELS = 8
"""Upsampled convolutions to more channels than these gain nothing from the phases."""


def fold(module: nn.Module) -> nn.Module:
    """A module that computes the same with fewer operations.

    The given one is left as it is, and returned where nothing folds.
    """
    if not any(_folded(list(m)) for m in module.modules() if isinstance(m, nn.Sequential)):
        return module
    module = copy.deepcopy(module)
    for sequence in [m for m in module.modules() if isinstance(m, nn.Sequential)]:
        layers = list(sequence)
        while (folded := _folded(layers)) is not None:
            layers = folded
        for name in list(sequence._modules):  # pyright: ignore[reportPrivateUsage]
            delattr(sequence, name)
        for index, layer in enumerate(layers):
            sequence.add_module(str(index), layer)
    return module


def _folded(layers: list[nn.Module]) -> list[nn.Module] | None:
    """The layers with one foldable pair replaced, or None when there is none."""
    # Pairs of convolutions first: what they become may then be few channels after an upsampling.
    for rule in (_merge, _phases):
        for index, (first, second) in enumerate(pairwise(layers)):
            if isinstance(second, nn.Conv2d) and (folded := rule(first, second)) is not None:
                return [*layers[:index], folded, *layers[index + 2 :]]
    return None


def _merge(first: nn.Module, second: nn.Conv2d) -> nn.Module | None:
    """One convolution equal to both, where that is exact."""
    if not (isinstance(first, nn.Conv2d) and _plain(first) and _plain(second)):
        return None
    a, b = first.weight.double(), second.weight.double()
    if _centre_only(first) and (first.bias is None or not bool(first.bias.any())):
        # Zero padding of the first one's output is zero padding of its input only without a bias.
        weight = torch.einsum("omyx,mi->oiyx", b, _centre(a))
        return _conv(second, weight, second.bias)
    if _centre_only(second):
        weight = torch.einsum("om,miyx->oiyx", _centre(b), a)
        bias = second.bias
        if first.bias is not None:
            moved = _centre(b) @ first.bias.double()
            bias = moved if bias is None else bias.double() + moved
        return _conv(first, weight, bias)
    return None


def _phases(first: nn.Module, conv: nn.Conv2d) -> nn.Module | None:
    """A nearest upsampling by 2 and the convolution after it, as phases at the low resolution."""
    if not _doubles(first) or not _plain(conv):
        return None
    if conv.stride != (1, 1) or conv.kernel_size != (3, 3) or conv.out_channels > FEW_CHANNELS:
        return None
    # Tap k in -1..1 of phase p in 0..1 reads the upsampled pixel 2 r + p + k: the low one r + floor((p + k) / 2).
    place = torch.zeros(2, 3, 3, dtype=torch.float64)
    for phase in range(2):
        for tap in range(3):
            place[phase, (phase + tap - 1) // 2 + 1, tap] = 1
    weight = torch.einsum("pyk,qxl,oikl->opqiyx", place, place, conv.weight.double())
    out, _, _, inputs, _, _ = weight.shape
    bias = None if conv.bias is None else conv.bias.double().repeat_interleave(4)
    return nn.Sequential(_conv(conv, weight.reshape(out * 4, inputs, 3, 3), bias), nn.PixelShuffle(2))


def _conv(like: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A convolution with these weights and the other's stride, padded to "same"."""
    out, inputs, height, width = weight.shape
    stride = like.stride[0], like.stride[1]
    conv = nn.Conv2d(inputs, out, (height, width), stride, (height // 2, width // 2), bias=bias is not None)
    conv.weight = nn.Parameter(weight.to(like.weight.dtype), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.to(like.weight.dtype), requires_grad=False)
    return conv


def _plain(conv: nn.Conv2d) -> bool:
    """Zero padded to "same", no groups, no dilation: what the formulas above assume."""
    same = conv.kernel_size[0] // 2, conv.kernel_size[1] // 2
    odd = conv.kernel_size[0] % 2 == 1 and conv.kernel_size[1] % 2 == 1
    return (
        odd and conv.padding == same and conv.groups == 1 and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    )


def _centre(weight: Tensor) -> Tensor:
    return weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2]


def _centre_only(conv: nn.Conv2d) -> bool:
    rest = conv.weight.detach().clone()
    rest[:, :, rest.shape[2] // 2, rest.shape[3] // 2] = 0
    return conv.stride == (1, 1) and not bool(rest.any())


def _doubles(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Upsample) and layer.mode == "nearest" and layer.scale_factor in (2, 2.0, (2.0, 2.0))
