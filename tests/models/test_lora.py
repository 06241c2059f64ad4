"""LoRA files: every layout and every part, alone and together, fused as diffusers fuses them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from streamdiff import ModelError
from streamdiff.models import LoraSpec, Model, load_model
from tests.models.toys import make_folder, make_lora, make_single_file, whole_unet

IDS = torch.arange(77)[None] % 200


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def unet(model: Model) -> torch.Tensor:
    channels = model.latent_channels * (2 if model.image_conditioned else 1)
    with torch.inference_mode():
        return whole_unet(model)(
            draw(2, channels, 8, 8), torch.tensor([499, 999]), draw(2, 77, model.text_width, seed=2)
        )


def text(model: Model) -> torch.Tensor:
    with torch.inference_mode():
        return model.make_text_encoder()(IDS)


def diffusers_own(folder: Path, *loras: tuple[Path, float]) -> tuple[torch.Tensor, torch.Tensor]:
    from diffusers import StableDiffusionPipeline

    pipe: Any = StableDiffusionPipeline.from_pretrained(folder)
    for file, scale in loras:
        pipe.load_lora_weights(str(file.parent), weight_name=file.name)
        pipe.fuse_lora(lora_scale=scale)
        pipe.unload_lora_weights()
    with torch.inference_mode():
        sample = pipe.unet(draw(2, 4, 8, 8), torch.tensor([499, 999]), draw(2, 77, 32, seed=2)).sample
        return sample, pipe.text_encoder(IDS)[0]


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def differ(a: torch.Tensor, b: torch.Tensor) -> bool:
    return float((a - b).abs().max()) > 1e-3


@pytest.mark.parametrize("form", ["peft", "kohya"])
@pytest.mark.parametrize("kind", ["sd15", "sd2"])
@pytest.mark.parametrize("parts", [("unet", "text"), ("text",), ("unet", "conv")], ids="-".join)
def test_each_part_is_fused(tmp_path: Path, kind: str, form: str, parts: tuple[str, ...]) -> None:
    folder = make_folder(tmp_path / kind, kind)
    file = make_lora(tmp_path / "x.safetensors", folder, form, parts=parts, rank=3, alpha=2.0)
    plain, model = load_model(folder), load_model(folder, lora=[f"{file}:-0.6"])
    want_unet, want_text = diffusers_own(folder, (file, -0.6))
    close(unet(model), want_unet)
    close(text(model), want_text)
    assert differ(unet(model), unet(plain)) == ("unet" in parts)
    assert differ(text(model), text(plain)) == ("text" in parts)


def test_a_lora_is_the_sum_it_claims_to_be(tmp_path: Path) -> None:
    """Without diffusers: W + scale * alpha / rank * up @ down, written by hand."""
    folder = make_folder(tmp_path / "a", "sd15")
    file = make_lora(tmp_path / "x.safetensors", folder, "kohya", rank=2, alpha=0.5, parts=("unet", "text"))
    by_hand = Path(shutil.copytree(folder, tmp_path / "b"))
    lora = load_file(file)
    for part, name, prefix in [
        ("unet", "diffusion_pytorch_model.safetensors", "lora_unet_"),
        ("text_encoder", "model.safetensors", "lora_te_text_model_"),
    ]:
        weights = load_file(folder / part / name)
        changed = 0
        for weight in weights:
            base = prefix + weight.removesuffix(".weight").removeprefix("text_model.").replace(".", "_")
            if f"{base}.lora_up.weight" in lora:
                delta = lora[f"{base}.lora_up.weight"] @ lora[f"{base}.lora_down.weight"]
                weights[weight] = weights[weight] + 0.8 * (0.5 / 2) * delta
                changed += 1
        assert changed > 7
        save_file(weights, by_hand / part / name, metadata={"format": "pt"})
    model, want = load_model(folder, lora=[f"{file}:0.8"]), load_model(by_hand)
    close(unet(model), unet(want))
    close(text(model), text(want))


def test_several_loras_add_up(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "sd15", "sd15")
    one = make_lora(tmp_path / "one.safetensors", folder, "peft", seed=1, parts=("unet", "text"))
    two = make_lora(tmp_path / "two.safetensors", folder, "kohya", seed=2)
    model = load_model(folder, lora=[f"{one}:0.5", f"{two}:0.9"])
    want_unet, want_text = diffusers_own(folder, (one, 0.5), (two, 0.9))
    close(unet(model), want_unet)
    close(text(model), want_text)
    close(unet(load_model(folder, lora=[f"{two}:0.9", f"{one}:0.5"])), want_unet)
    halves = load_model(folder, lora=[f"{one}:0.25", f"{one}:0.25", f"{two}:0.9"])
    close(unet(halves), want_unet)


def test_no_two_settings_share_a_key(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "sd15", "sd15")
    files = []
    for name, seed in [("a", 1), ("b", 2)]:
        (tmp_path / name).mkdir()
        files.append(make_lora(tmp_path / name / "same.safetensors", folder, seed=seed))
    a, b = files
    settings = [
        [], [f"{a}:0.5"], [f"{b}:0.5"], [f"{a}:0.5", f"{a}:0.5"], [f"{a}:0.5", f"{b}:0.8"], [f"{a}:0.8", f"{b}:0.5"],
    ]  # fmt: skip
    keys = [load_model(folder, lora=lora).key for lora in settings]
    assert len(set(keys)) == len(keys)
    # The same sum as the last in another order: it may share that key, and no other.
    assert load_model(folder, lora=[f"{b}:0.5", f"{a}:0.8"]).key not in keys[:-1]


def test_a_changed_file_changes_the_key(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "sd15", "sd15")
    file = make_lora(tmp_path / "x.safetensors", folder, seed=1)
    key = load_model(folder, lora=[str(file)]).key
    make_lora(file, folder, seed=2)
    assert load_model(folder, lora=[str(file)]).key != key


def test_a_lora_on_a_checkpoint(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", "sd2")
    checkpoint = make_single_file(tmp_path / "model.safetensors", "sd2", folder)
    file = make_lora(tmp_path / "x.safetensors", folder, "kohya", parts=("unet", "text"))
    got, want = (load_model(source, lora=[f"{file}:0.7"]) for source in (checkpoint, folder))
    close(unet(got), unet(want))
    close(text(got), text(want))


@pytest.mark.parametrize("kind", ["lcm", "pix2pix"])
def test_a_lora_on_other_unets(tmp_path: Path, kind: str) -> None:
    folder = make_folder(tmp_path / kind, kind)
    file = make_lora(tmp_path / "x.safetensors", folder)
    plain, full, none = (load_model(folder, lora=lora) for lora in ([], [str(file)], [f"{file}:0"]))
    assert differ(unet(plain), unet(full))
    close(unet(none), unet(plain))


def test_a_lora_of_another_models_size(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "sd15", "sd15")
    file = make_lora(tmp_path / "x.safetensors", folder)
    save_file({k: torch.cat([v, v], 1) if "lora_A" in k else v for k, v in load_file(file).items()}, file)
    with pytest.raises(ModelError, match="another model's"):
        load_model(folder, lora=[str(file)])


def test_a_half_fitting_lora_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_folder(tmp_path / "sd15", "sd15")
    file = make_lora(tmp_path / "x.safetensors", folder)
    weights = load_file(file)
    foreign = {
        "unet.down_blocks.7.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight": torch.ones(2, 32),
        "unet.down_blocks.7.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight": torch.ones(32, 2),
    }
    save_file(weights | foreign, file)
    with caplog.at_level(logging.WARNING, logger="streamdiff.models"):
        model = load_model(folder, lora=[str(file)])
    assert f"{len(weights) // 2} of {len(weights) // 2 + 1}" in caplog.text
    want = make_lora(tmp_path / "y.safetensors", folder)
    close(unet(model), unet(load_model(folder, lora=[str(want)])))


@pytest.mark.parametrize("keep", ["lora_A", "lora_B"])
def test_half_of_each_pair_is_missing(tmp_path: Path, keep: str) -> None:
    folder = make_folder(tmp_path / "sd15", "sd15")
    file = make_lora(tmp_path / "x.safetensors", folder)
    save_file({k: v for k, v in load_file(file).items() if keep in k}, file)
    with pytest.raises(ModelError) as caught:
        load_model(folder, lora=[str(file)]).make_denoiser(False)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_lora(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "sd15", "sd15")
    file = tmp_path / "x.safetensors"
    for weights in ({"a": torch.ones(1)}, {"conv.weight": torch.ones(2, 2, 3, 3)}, {}):
        save_file(weights, file)
        with pytest.raises(ModelError) as caught:
            load_model(folder, lora=[str(file)])
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError):
        load_model(folder, lora=[str(folder / "vae" / "diffusion_pytorch_model.safetensors")])
    with pytest.raises(ModelError, match="not there"):
        load_model(folder, lora=[str(tmp_path)])


def test_a_path_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "sd15", "sd15")
    make_lora(tmp_path / "x y.safetensors", folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    key = load_model("~/sd15", lora=["~/x y.safetensors:0.5"]).key
    assert key == load_model(folder, lora=[f"{tmp_path / 'x y.safetensors'}:0.5"]).key
    assert key == load_model(folder, lora=LoraSpec("~/x y.safetensors", 0.5)).key  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="between -10 and 10"):
        LoraSpec(tmp_path / "x y.safetensors", float("nan"))
