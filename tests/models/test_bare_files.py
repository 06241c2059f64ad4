"""Files that come without a configuration: it is read off the weights, offline."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from streamdiff import ModelError
from streamdiff.models import load_model
from tests.models import toys
from tests.models.test_load import PIXELS, draw, outputs, same

ALL = dict.fromkeys(("latent", "picture", "text"), True)
TURBO = {
    "prediction_type": "epsilon",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
}


def published(path: Path, kind: str) -> Path:
    """A folder as ``toys.make_folder`` makes it, with the widths, heads and groups of the published models."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    toys.make_folder(path, kind)
    sd2 = kind == "sd2"
    width = 1024 if sd2 else 768
    torch.manual_seed(21)
    unet: Any = UNet2DConditionModel(
        in_channels=8 if kind == "pix2pix" else 4, out_channels=4, block_out_channels=(64, 128), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width, attention_head_dim=(1, 2) if sd2 else 8, use_linear_projection=sd2,
    )  # fmt: skip
    vae: Any = AutoencoderKL(
        block_out_channels=(32,) * 4, latent_channels=4, layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    count = len(toys._vocabulary()[0])
    text: Any = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=count, hidden_size=width, intermediate_size=96, num_hidden_layers=1, eos_token_id=count - 1,
            num_attention_heads=width // 64, hidden_act="gelu" if sd2 else "quick_gelu",
        )
    )  # fmt: skip
    for part, module in (("unet", unet), ("vae", vae), ("text_encoder", text)):
        toys._perturbed(module, 5).save_pretrained(path / part)
    return path


def checkpoint(path: Path, kind: str, folder: Path, metadata: dict[str, str] | None = None) -> Path:
    toys.make_single_file(path, kind, folder)
    if metadata:
        save_file(load_file(path), path, metadata=metadata)
    return path


def predict(model: Any) -> torch.Tensor:
    channels = 8 if model.image_conditioned else 4
    with torch.inference_mode():
        return toys.whole_unet(model)(
            draw(2, channels, 8, 8), torch.tensor([499, 20]), draw(2, 77, model.text_width, seed=2)
        )


@pytest.mark.parametrize("kind", ["sd15", "sd2", "pix2pix"])
def test_a_bare_checkpoint_needs_only_a_tokenizer(tmp_path: Path, kind: str) -> None:
    folder = published(tmp_path / "folder", kind)
    (tmp_path / "files").mkdir()
    file = checkpoint(tmp_path / "files" / "model.safetensors", kind, folder)
    (folder / "tokenizer").rename(tmp_path / "files" / "tokenizer")
    model = load_model(file)
    (tmp_path / "files" / "tokenizer").rename(folder / "tokenizer")
    want = load_model(folder)
    for name in ("prediction", "latent_channels", "image_conditioned", "text_length", "text_width"):
        assert getattr(model, name) == getattr(want, name), name
    torch.testing.assert_close(model.alphas_cumprod, want.alphas_cumprod)
    assert model.default_size == ((768, 768) if kind == "sd2" else (512, 512))
    torch.testing.assert_close(predict(model), predict(want), atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        pairs = [(m.make_encoder()(PIXELS), m.make_text_encoder()(m.tokenize("a cat"))) for m in (model, want)]
        latent = draw(1, 4, 8, 8)
        assert (model.make_decoder()(latent).int() - want.make_decoder()(latent).int()).abs().max() <= 1
    for got, other in zip(*pairs, strict=True):
        torch.testing.assert_close(got, other, atol=1e-5, rtol=1e-5)


def test_what_a_bare_checkpoint_predicts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The weights do not tell noise from v: the file's own word, then the user's, then SD 2.1's habit, said aloud."""
    folder = published(tmp_path / "folder", "sd2")
    (folder / "tokenizer").rename(tmp_path / "tokenizer")
    file = checkpoint(tmp_path / "x.safetensors", "sd2", folder)
    with caplog.at_level(logging.WARNING, logger="streamdiff.models"):
        model = load_model(file)
    assert model.prediction == "v_prediction" and model.default_size == (768, 768)
    assert "taken for v_prediction" in caplog.text and "x/scheduler" in caplog.text
    caplog.clear()
    (tmp_path / "x" / "scheduler").mkdir(parents=True)
    (tmp_path / "x" / "scheduler" / "scheduler_config.json").write_text(json.dumps(TURBO))
    with caplog.at_level(logging.WARNING, logger="streamdiff.models"):
        turbo = load_model(file)
    assert turbo.prediction == "epsilon" and turbo.default_size == (512, 512)
    assert turbo.key != model.key and not caplog.text
    told = checkpoint(tmp_path / "told.safetensors", "sd2", folder, {"modelspec.prediction_type": "epsilon"})
    with caplog.at_level(logging.WARNING, logger="streamdiff.models"):
        assert load_model(told).prediction == "epsilon"
    assert not caplog.text
    weights = load_file(checkpoint(tmp_path / "v.safetensors", "sd15", published(tmp_path / "one", "sd15")))
    save_file(weights | {"v_pred": torch.ones(1)}, tmp_path / "v.safetensors")
    assert load_model(tmp_path / "v.safetensors").prediction == "v_prediction"


def test_a_vae_in_a_file(tmp_path: Path) -> None:
    """As the SD VAEs are passed around: the original layout, with no prefix; or inside a checkpoint."""
    model, other = published(tmp_path / "model", "sd15"), published(tmp_path / "other", "sd2")
    weights = toys._to_ldm_vae({k: v + 0.01 for k, v in load_file(other / toys_vae()).items()})
    weights = {k.removeprefix("first_stage_model."): v.contiguous() for k, v in weights.items()}
    file = tmp_path / "vae-ft-mse.safetensors"
    save_file(weights, file)
    plain, got = load_model(model), load_model(model, vae=file)
    assert plain.key != got.key
    save_file({k: v.contiguous() + 0.01 for k, v in load_file(other / toys_vae()).items()}, other / toys_vae())
    want = load_model(model, vae=other / "vae")
    with torch.inference_mode():
        latents = [m.make_encoder()(PIXELS) for m in (plain, got, want)]
        pictures = [m.make_decoder()(draw(1, 4, 8, 8)).int() for m in (plain, got, want)]
    torch.testing.assert_close(latents[1], latents[2], atol=1e-5, rtol=1e-5)
    assert (latents[0] - latents[1]).abs().max() > 1e-3
    assert (pictures[1] - pictures[2]).abs().max() <= 1
    whole = checkpoint(tmp_path / "whole.safetensors", "sd2", other)
    with torch.inference_mode():
        torch.testing.assert_close(load_model(model, vae=whole).make_encoder()(PIXELS), latents[2])


def toys_vae() -> str:
    return "vae/diffusion_pytorch_model.safetensors"


def test_files_that_are_no_vae(tmp_path: Path) -> None:
    folder = toys.make_folder(tmp_path / "m", "sd15")
    (tmp_path / "vae.pt").write_bytes(b"x")
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    weights = toys._to_ldm_vae(load_file(published(tmp_path / "p", "sd15") / toys_vae()))
    weights.pop("first_stage_model.decoder.conv_out.weight")
    save_file({k: v.contiguous() for k, v in weights.items()}, tmp_path / "half.safetensors")
    for name, says in [("vae.pt", "safetensors file"), ("a.safetensors", "original layout"),
                       ("none.safetensors", "not a folder"), ("half.safetensors", "missing")]:  # fmt: skip
        with pytest.raises(ModelError, match=says) as caught:
            load_model(folder, vae=tmp_path / name).make_decoder()
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="give the folder around it"):
        load_model(folder, vae=folder / toys_vae())


def test_a_condition_is_scaled_as_in_training(tmp_path: Path) -> None:
    """TAESD's latents are SD's scaled ones and its own factor is 1: the UNet still wants them unscaled."""
    folder, taesd = toys.make_folder(tmp_path / "p", "pix2pix"), toys.make_taesd(tmp_path / "t")
    torch.testing.assert_close(
        outputs(load_model(folder, vae=taesd))["unet"], outputs(load_model(folder))["unet"], atol=1e-6, rtol=1e-6
    )
    assert same(load_model(folder), load_model(folder, vae=taesd))["text"]
