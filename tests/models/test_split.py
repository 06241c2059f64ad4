"""A UNet in two parts, and its outermost blocks alone, compute what diffusers' own whole UNet computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from streamdiff.models import load_model
from streamdiff.models.load import TINY
from streamdiff.models.split import Conditioner, Denoiser, Shallow
from tests.models.toys import make_folder, whole_unet

T = torch.tensor([499, 20, 0])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"resnet_time_scale_shift": "scale_shift", "addition_embed_type": "text", "addition_embed_type_num_heads": 4},
        {"only_cross_attention": (True, False)},
        {"resnet_skip_time_act": True, "time_embedding_act_fn": "silu"},
        {"use_linear_projection": True, "attention_head_dim": 4, "layers_per_block": 2},
    ],
)
def test_two_parts_are_the_whole(settings: dict[str, Any]) -> None:
    def unet() -> Any:
        torch.manual_seed(0)
        config = {"block_out_channels": (32, 64), "layers_per_block": 1, "cross_attention_dim": 32, **settings}
        types = {
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        }
        return UNet2DConditionModel(sample_size=8, norm_num_groups=8, **types, **config).eval()

    x, text = draw(3, 4, 8, 8), draw(3, 7, 32, seed=1)
    with torch.inference_mode():
        want = unet()(x, T, text).sample
        row = Conditioner(unet(), 1000)(T, text)
        torch.testing.assert_close(Denoiser(unet(), 7, None)(x, row), want, atol=1e-5, rtol=1e-5)
        both = Denoiser(unet(), 7, None, deep=True)(x, row)
        torch.testing.assert_close(both[:, :4], want, atol=1e-5, rtol=1e-5)
        shallow = Shallow(unet(), 7, None)
        torch.testing.assert_close(shallow(x, row, both[:, 4:]), want, atol=1e-5, rtol=1e-5)
        # The row and the deep features count.
        assert (shallow(x, row, both[:, 4:] + 1) - want).abs().max() > 1e-3
        assert (Denoiser(unet(), 7, None)(x, row.flip(0)) - want).abs().max() > 1e-3


def test_the_shallow_part_is_small_and_keeps_its_names() -> None:
    model = load_model("tiny")
    whole = {name: p.shape for name, p in model.make_denoiser(False).named_parameters()}
    shallow = {name: p.shape for name, p in model.make_shallow().named_parameters()}
    assert shallow.items() <= whole.items()
    assert sum(s.numel() for s in shallow.values()) < 0.1 * sum(s.numel() for s in whole.values())


@pytest.mark.skipif(not (TINY / "model_index.json").is_file(), reason="the embedded model's weights are not there")
def test_the_embedded_model_in_two_parts() -> None:
    model = load_model("tiny")
    unet: Any = UNet2DConditionModel.from_pretrained(TINY / "unet").eval()
    x, text = draw(3, 32, 16, 16), draw(3, model.text_length, model.text_width, seed=1)
    with torch.inference_mode():
        torch.testing.assert_close(whole_unet(model)(x, T, text), unet(x, T, text).sample, atol=1e-4, rtol=1e-4)


def test_the_width_of_the_deep_features(tmp_path: Path) -> None:
    model = load_model(make_folder(tmp_path / "m", "sd15"))
    with torch.inference_mode():
        row = model.make_conditioner()(T[:1], draw(1, 77, 32))
        both = model.make_denoiser(True)(draw(1, 4, 8, 8), row)
    assert both.shape == (1, 4 + model.deep_channels, 8, 8)
