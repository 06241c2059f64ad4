"""The loader: every form of weights gives the same networks, equal to diffusers' own, or a clear line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from streamdiff import ModelError
from streamdiff.models import LoraSpec, Model, load_model
from streamdiff.models.betas import alphas_cumprod
from streamdiff.models.load import TINY
from tests.models.toys import KINDS, make_folder, make_foreign_lora, make_lora, make_single_file, make_taesd, whole_unet

PIXELS = torch.randint(0, 256, (2, 64, 72, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def outputs(model: Model) -> dict[str, torch.Tensor]:
    """Every network of a model on fixed inputs."""
    channels = model.latent_channels * (2 if model.image_conditioned else 1)
    with torch.inference_mode():
        return {
            "latent": model.make_encoder()(PIXELS),
            "picture": model.make_decoder()(draw(2, model.latent_channels, 8, 9)).float(),
            "unet": whole_unet(model)(draw(2, channels, 8, 8), torch.tensor([499, 20]), draw(2, 77, 32, seed=2)),
            "text": model.make_text_encoder()(model.tokenize("a cat in oil")),
        }


def same(a: Model, b: Model, tolerance: float = 1e-5) -> dict[str, bool]:
    first, second = outputs(a), outputs(b)
    return {name: bool((first[name] - second[name]).abs().max() <= tolerance) for name in first}


def refused(says: str, *args: Any, **kwargs: Any) -> None:
    started = time.monotonic()
    with pytest.raises(ModelError, match=says) as caught:
        load_model(*args, **kwargs)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_gives_diffusers_own_networks(tmp_path: Path, kind: str) -> None:
    import diffusers
    from transformers import CLIPTextModel

    folder = make_folder(tmp_path / kind, kind)
    model = load_model(folder)
    assert model.prediction == ("v_prediction" if kind == "sd2" else "epsilon")
    assert model.image_conditioned == (kind == "pix2pix")
    assert (model.latent_channels, model.text_length, model.text_width) == (4, 77, 32)
    got = outputs(model)
    made = diffusers.AutoencoderTiny if kind == "tinyvae" else diffusers.AutoencoderKL
    vae: Any = made.from_pretrained(folder / "vae")
    unet: Any = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    text: Any = CLIPTextModel.from_pretrained(folder / "text_encoder")
    scale = vae.config.scaling_factor
    with torch.inference_mode():
        encoded = vae.encode(PIXELS.permute(0, 3, 1, 2).float() / 127.5 - 1)
        latent = encoded.latents if kind == "tinyvae" else encoded.latent_dist.mode()
        torch.testing.assert_close(got["latent"], latent * scale, atol=1e-5, rtol=1e-5)
        decoded = vae.decode(draw(2, 4, 8, 9) / scale).sample.permute(0, 2, 3, 1)
        picture = ((decoded.clamp(-1, 1) + 1) * 127.5).round()
        assert float((got["picture"] - picture).abs().max()) <= 1
        x = draw(2, 8 if model.image_conditioned else 4, 8, 8)
        if model.image_conditioned:  # InstructPix2Pix takes unscaled image latents; the stream's are scaled
            x[:, 4:] /= scale
        extra = None
        if kind == "lcm":
            pipe = diffusers.LatentConsistencyModelImg2ImgPipeline
            extra = pipe.get_guidance_scale_embedding(None, torch.tensor([7.5]), embedding_dim=8).expand(2, -1)
        want = unet(x, torch.tensor([499, 20]), draw(2, 77, 32, seed=2), timestep_cond=extra).sample
        torch.testing.assert_close(got["unet"], want, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(got["text"], text(model.tokenize("a cat in oil"))[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["sd15", "sd2"])
def test_a_checkpoint_is_its_folder(tmp_path: Path, kind: str) -> None:
    folder = make_folder(tmp_path / "model", kind)
    file = make_single_file(tmp_path / "model.safetensors", kind, folder)
    assert same(load_model(folder), load_model(file)) == dict.fromkeys(("latent", "picture", "unet", "text"), True)
    elsewhere = shutil.copy(file, tmp_path / "other.safetensors")
    assert all(same(load_model(folder), load_model(elsewhere, config=folder)).values())
    refused("no known kind", elsewhere)  # nothing beside it, and the toy's text width is no published model's
    refused("goes with --lora", make_lora(tmp_path / "lora.safetensors", folder))


@pytest.mark.parametrize("form", ["peft", "kohya"])
@pytest.mark.parametrize("kind", ["sd15", "sd2"])
def test_lora_is_fused_as_diffusers_fuses_it(tmp_path: Path, kind: str, form: str) -> None:
    from diffusers import StableDiffusionPipeline

    folder = make_folder(tmp_path / kind, kind)
    file = make_lora(tmp_path / "my.style.safetensors", folder, form)
    plain, model = load_model(folder), load_model(folder, lora=[f"{file}:0.7"])
    pipe: Any = StableDiffusionPipeline.from_pretrained(folder)
    pipe.load_lora_weights(str(file.parent), weight_name=file.name)
    pipe.fuse_lora(lora_scale=0.7)
    with torch.inference_mode():
        want = pipe.unet(draw(2, 4, 8, 8), torch.tensor([499, 20]), draw(2, 77, 32, seed=2)).sample
    got = outputs(model)["unet"]
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    assert float((got - outputs(plain)["unet"]).abs().max()) > 1e-3
    keys = {
        plain.key,
        model.key,
        load_model(folder, lora=[f"{file}:0.6"]).key,
        load_model(folder, lora=[str(file)]).key,
    }
    assert len(keys) == 4
    assert same(plain, load_model(folder, lora=[f"{file}:0"]))["unet"]


def test_lora_files_that_do_not_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_folder(tmp_path / "sd15", "sd15")
    refused("is not there", folder, lora=[str(tmp_path / "none.safetensors")])
    (tmp_path / "bad.safetensors").write_bytes(b"not a lora at all")
    refused("not a safetensors file", folder, lora=[str(tmp_path / "bad.safetensors")])
    refused("does not fit", folder, lora=[str(make_foreign_lora(tmp_path / "foreign.safetensors"))])
    refused("not a number", folder, lora=["x.safetensors:strong"])
    refused("between", folder, lora=["x.safetensors:nan"])
    assert LoraSpec.parse(r"C:\loras\x.safetensors") == LoraSpec(Path(r"C:\loras\x.safetensors"))
    assert LoraSpec.parse("a:b.safetensors:0.5") == LoraSpec(Path("a:b.safetensors"), 0.5)


def test_another_vae(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "sd15", "sd15")
    tiny = make_taesd(tmp_path / "taesd")
    plain, model = load_model(folder), load_model(folder, vae=tiny)
    assert same(plain, model) == {"latent": False, "picture": False, "unet": True, "text": True}
    assert plain.key != model.key != load_model(folder, vae=make_taesd(tmp_path / "other", seed=4)).key
    refused("not a folder", folder, vae=tmp_path / "nothing")
    refused("is missing", folder, vae=tmp_path)


def test_the_key_follows_the_contents(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", "sd15")
    key = load_model(folder).key
    copy = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    assert load_model(copy).key == key
    for part, name in [("unet", "diffusion_pytorch_model.safetensors"), ("vae", "diffusion_pytorch_model.safetensors"),
                       ("text_encoder", "model.safetensors")]:  # fmt: skip
        changed = Path(shutil.copytree(folder, tmp_path / f"changed {part}"))
        data = bytearray((changed / part / name).read_bytes())
        data[-1] ^= 1
        (changed / part / name).write_bytes(data)
        assert load_model(changed).key != key


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_an_incomplete_folder(tmp_path: Path, part: str) -> None:
    folder = make_folder(tmp_path / "a", "sd15")
    shutil.rmtree(folder / part)
    refused(f"{part} missing", folder)


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", "sd15")
    refused("not a diffusers model folder", tmp_path)
    refused("is not there", tmp_path / "no" / "such" / "thing")
    refused("check the path", tmp_path / "x.safetensors")
    (tmp_path / "model.ckpt").write_bytes(b"x")
    refused("pickle", tmp_path / "model.ckpt")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    refused("cut short", folder)
    weights.write_bytes(b"")
    refused("not a safetensors file", folder)
    weights.rename(weights.with_suffix(".bin"))
    refused("pickled weights", folder)
    weights.with_suffix(".bin").unlink()
    refused("no weights", folder)
    weights.write_bytes(whole)
    config = folder / "unet" / "config.json"
    settings = json.loads(config.read_text())
    for change, says in [({"addition_embed_type": "text_time"}, "SDXL"), ({"in_channels": 9}, "takes 9")]:
        config.write_text(json.dumps(settings | change))
        refused(says, folder)
    config.write_text("{")
    refused("cannot be read", folder)
    config.unlink()
    refused("is missing", folder)


def test_an_unreachable_hub_says_what_to_do() -> None:
    refused("--model tiny", "stabilityai/sd-turbo")
    code = "from streamdiff.models import load_model\nload_model('some-owner/some-model')"
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    started = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert "ModelError: some-owner/some-model cannot be loaded" in result.stderr.splitlines()[-1]
    assert time.monotonic() - started < 40


def test_importing_the_loader_is_light() -> None:
    code = "import sys, streamdiff.models; print([m for m in ('diffusers', 'transformers') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "settings",
    [
        {"beta_schedule": "linear"}, {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        {"beta_schedule": "squaredcos_cap_v2"}, {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True},
        {"beta_schedule": "linear", "num_train_timesteps": 200},
    ],
)  # fmt: skip
def test_schedules_are_diffusers_own(settings: dict[str, Any]) -> None:
    from diffusers import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler(**settings)
    torch.testing.assert_close(alphas_cumprod(dict(scheduler.config)), scheduler.alphas_cumprod, atol=1e-6, rtol=1e-4)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ModelError, match="known: linear"):
        alphas_cumprod({"beta_schedule": "sigmoid"})


@pytest.mark.skipif(not (TINY / "model_index.json").is_file(), reason="the embedded model's weights are not there")
def test_the_embedded_model() -> None:
    model = load_model()
    assert model.image_conditioned and model.latent_channels == 16 and model.default_size == (256, 256)
    names = {style.prompt for style in model.styles}
    wanted = {
        "pencil sketch",
        "oil painting",
        "watercolor",
        "comic book",
        "van gogh",
        "ukiyo-e",
        "pixel art",
        "neon",
        "photo",
    }
    assert wanted <= names
    assert sum(path.stat().st_size for path in TINY.rglob("*") if path.is_file()) <= 45e6


@pytest.mark.skipif(not (TINY / "model_index.json").is_file(), reason="the embedded model's weights are not there")
def test_the_embedded_model_damaged(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    refused("cut short", folder)
