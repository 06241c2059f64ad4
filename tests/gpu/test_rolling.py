"""The rolling window on a CUDA device: the same as on the CPU in float32, and close to it in bfloat16."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from streamdiff.rolling import RollingConfig, RollingStream
from streamdiff.rolling.denoiser import RollingDenoiser
from streamdiff.rolling.schedule import make_ladder
from streamdiff.rolling.transformer import RollingTransformer
from streamdiff.rolling.vae import WanVae
from streamdiff.rolling.window import Span
from tests.rolling.toys import original_weights, toy_model, toy_transformer, wan_vae
from tests.toy import frames

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def video(device: str, dtype: torch.dtype) -> Tensor:
    """Ten blocks through the ramp, the steady state and the drain."""
    wan = toy_transformer(original_weights(width=16), 2).wan
    transformer = RollingTransformer(wan, dtype).to(device)
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(1, 5, 6, generator=generator).to(device)
    denoiser: RollingDenoiser[int] = RollingDenoiser(transformer, make_ladder(), Span(), (4, 4), text)
    finished: list[Tensor] = []
    for block in range(10):
        noise = torch.randn(denoiser.noise_shape, generator=generator).to(device)
        out = denoiser.push(torch.zeros_like(noise[0]), noise, block)
        finished += [] if out is None else [out[0]]
    while (out := denoiser.advance()) is not None:
        finished.append(out[0])
    return torch.cat(finished).cpu()


def test_agrees_with_the_cpu() -> None:
    exact = video("cpu", torch.float32)
    assert (video("cuda", torch.float32) - exact).abs().max() < 1e-3
    assert (video("cuda", torch.bfloat16) - exact).abs().mean() < 0.1


def test_a_stream_on_the_device() -> None:
    model = toy_model(WanVae(wan_vae().to("cuda")))
    model.transformer.to("cuda")
    with RollingStream(model, RollingConfig.make(width=64, height=64, level=4)) as stream:
        out = [done for frame in frames(25) for done in stream.push(frame)] + stream.flush()
        assert [frame.index for frame in out] == list(range(25))
        assert len(list(stream.generate(2))) == 24
