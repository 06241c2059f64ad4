"""The wrapped networks can be traced at fixed shapes, which is all an engine asks of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from streamdiff.models import load_model
from streamdiff.models.base import Model
from tests.models.toys import KINDS, make_folder

NETWORKS = ("encoder", "decoder", "denoiser", "deep", "shallow", "text_encoder", "conditioner")


def make(model: Model, name: str) -> nn.Module:
    made = {"denoiser": partial(model.make_denoiser, False), "deep": partial(model.make_denoiser, True)}
    return made.get(name, getattr(model, f"make_{name}", None))()


def example(model: Model, name: str, seed: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    def pick(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(0, high, shape, generator=generator)

    channels = 8 if model.image_conditioned else 4
    if name in ("denoiser", "deep", "shallow"):
        with torch.no_grad():
            row = model.make_conditioner()(pick(1000, 2), draw(2, 77, 32))
        deep = [draw(2, model.deep_channels, 8, 8)] if name == "shallow" else []
        return (draw(2, channels, 8, 8), row, *deep)
    return {
        "encoder": lambda: (pick(256, 2, 64, 72, 3).to(torch.uint8),),
        "decoder": lambda: (draw(2, 4, 8, 9),),
        "conditioner": lambda: (pick(1000, 2), draw(2, 77, 32)),
        "text_encoder": lambda: (pick(500, 1, 77),),
    }[name]()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_traced_networks_take_other_values(tmp_path: Path, kind: str) -> None:
    """Traced on one input, right on another: nothing of the first was frozen into the graph."""
    model = load_model(make_folder(tmp_path / kind, kind))
    for name in NETWORKS:
        module = make(model, name)
        assert not any(part.training for part in module.modules())
        first, second = (example(model, name, seed) for seed in (1, 2))
        with torch.no_grad():
            traced = torch.jit.trace(module, first, check_trace=False)
            got, want = traced(*second), module(*second)
        assert got.dtype == want.dtype
        if name == "decoder":
            assert (got.int() - want.int()).abs().max() <= 1
        else:
            torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_openvino_converts_them(tmp_path: Path, name: str) -> None:
    openvino = pytest.importorskip("openvino")
    model = load_model(make_folder(tmp_path / "m", "lcm"))
    module = make(model, name)
    first, second = (example(model, name, seed) for seed in (1, 2))
    with torch.no_grad():
        converted = openvino.convert_model(module, example_input=first, input=[tuple(x.shape) for x in first])
        want = module(*second).float()
    compiled = openvino.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    got = torch.from_numpy(compiled([x.numpy() for x in second])[0]).float()
    assert (got - want).abs().max() <= (1 if name == "decoder" else 1e-4)
