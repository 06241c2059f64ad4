"""A stream has no longest length: 2,000 blocks take no more memory, and no more work for a block, than a few."""

from __future__ import annotations

import gc
from typing import Any

import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from streamdiff.rolling import RollingConfig, RollingStream
from streamdiff.rolling.denoiser import RollingDenoiser
from streamdiff.rolling.schedule import make_ladder
from streamdiff.rolling.window import Span
from tests.rolling.toys import PictureVae, original_weights, toy_model, toy_transformer
from tests.toy import frames

BLOCKS = 2_000
WARM = 200


def resident() -> float:
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


def tensors() -> int:
    """Elements in all tensors alive."""
    gc.collect()
    found: list[Any] = [held for held in gc.get_objects() if type(held) in (torch.Tensor, torch.nn.Parameter)]
    return sum(tensor.numel() for tensor in found)


def test_two_thousand_blocks() -> None:
    model = toy_model(PictureVae(), layers=1)
    with RollingStream(model, RollingConfig.make(width=64, height=64, level=4, prompt="a lake")) as stream:
        given = frames(30)
        sizes: list[float] = []
        elements: list[int] = []
        out = 0
        for i in range(3 * BLOCKS):
            if i % 250 == 100:  # both prompts within the blocks that count as warming up
                stream.update(prompt=f"lake {i // 250 % 2}", level=3 + i // 250 % 2)
                stream.re_anchor()
            out += len(stream.push(given[i % 30]))
            if i + 1 in (3 * WARM, 3 * BLOCKS // 2, 3 * BLOCKS):
                sizes.append(resident())
                elements.append(tensors())
        assert out + stream.in_flight == 3 * BLOCKS
        assert elements[0] == elements[1] == elements[2]
        assert sizes[-1] - sizes[0] < 20, f"resident MiB after {WARM}, {BLOCKS // 2}, {BLOCKS} blocks: {sizes}"


def test_the_work_for_a_block_does_not_grow() -> None:
    transformer = toy_transformer(original_weights(heads=1, width=6, layers=1, ffn=4), 1)
    span, ladder = Span(), make_ladder()
    denoiser: RollingDenoiser[int] = RollingDenoiser(transformer, ladder, span, (2, 2), torch.zeros(1, 2, 6))
    noise = torch.randn(denoiser.noise_shape, generator=torch.Generator().manual_seed(0))
    buffers = denoiser._cache.keys.data_ptr(), denoiser._cache.values.data_ptr(), denoiser._cos.shape
    work: dict[int, int] = {}
    for block in range(400):
        if block in (0, 12, 13, 399):
            with FlopCounterMode(display=False) as counter:
                denoiser.push(noise[0], noise, block)
            work[block] = counter.get_total_flops()
        else:
            denoiser.push(noise[0], noise, block)
    assert work[399] == work[13] == work[12] > work[0] > 0
    assert buffers == (denoiser._cache.keys.data_ptr(), denoiser._cache.values.data_ptr(), denoiser._cos.shape)
    assert denoiser._cache.keys.shape == (1, 7, 3, 1, 6)
