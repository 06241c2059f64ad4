"""The same weights in every form in which they are published load to the same networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from streamdiff import ModelError
from streamdiff.models import Model, load_model
from streamdiff.models.load import TINY
from tests.models.test_load import PIXELS, draw, outputs, same
from tests.models.toys import all_networks, make_folder, make_single_file, make_taesd, whole_unet

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
ALL = dict.fromkeys(("latent", "picture", "unet", "text"), True)


def write(path: Path, weights: dict[str, torch.Tensor]) -> None:
    save_file({name: value.contiguous() for name, value in weights.items()}, path, metadata={"format": "pt"})


def edit_json(path: Path, **change: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def halves(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.half() for name, value in weights.items()}


@pytest.mark.parametrize("kind", ["sd15", "sd2"])
def test_text_encoders_of_transformers_4(tmp_path: Path, kind: str) -> None:
    """Published folders name the weights "text_model.*", and older ones carry position ids."""
    plain = load_model(make_folder(tmp_path / "plain", kind))
    folder = make_folder(tmp_path / "old", kind)
    weights = {f"text_model.{n.removeprefix('text_model.')}": v for n, v in load_file(folder / TEXT).items()}
    write(folder / TEXT, weights | {"text_model.embeddings.position_ids": torch.arange(77)[None]})
    assert same(plain, load_model(folder)) == ALL


def test_vae_of_old_diffusers(tmp_path: Path) -> None:
    """SD 1.5's own VAE calls its attention query, key, value and proj_attn."""
    plain = load_model(make_folder(tmp_path / "plain", "sd15"))
    folder = make_folder(tmp_path / "old", "sd15")
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for name, value in load_file(folder / VAE).items():
        if ".attentions." in name:
            for new, old in names.items():
                name = name.replace(f".{new}.", f".{old}.")
        weights[name] = value
    write(folder / VAE, weights)
    assert same(plain, load_model(folder)) == ALL


def test_half_precision(tmp_path: Path) -> None:
    """Weights in fp16, under the plain name or as a variant: computed in fp32 all the same."""
    plain, variant = make_folder(tmp_path / "plain", "sd15"), make_folder(tmp_path / "variant", "sd15")
    for name in (UNET, VAE, TEXT):
        weights = halves(load_file(plain / name))
        write(plain / name, weights)
        (variant / name).unlink()
        write((variant / name).with_suffix(".fp16.safetensors"), weights)
    model = load_model(plain)
    for module in all_networks(model):
        assert not module.training
        assert {p.dtype for p in module.parameters()} == {torch.float32}
        assert not any(p.requires_grad for p in module.parameters())
    assert same(model, load_model(variant)) == ALL


def test_both_precisions_side_by_side(tmp_path: Path) -> None:
    plain = load_model(make_folder(tmp_path / "plain", "sd15"))
    folder = make_folder(tmp_path / "both", "sd15")
    for name in (UNET, VAE, TEXT):
        write((folder / name).with_suffix(".fp16.safetensors"), halves(load_file(folder / name)))
        write((folder / name).with_suffix(".non_ema.safetensors"), {"x": torch.ones(1)})
    assert same(plain, load_model(folder)) == ALL


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards(tmp_path: Path, variant: str | None) -> None:
    from diffusers import UNet2DConditionModel

    folder = make_folder(tmp_path / "sd15", "sd15")
    plain = load_model(make_folder(tmp_path / "plain", "sd15"))
    unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet")
    (folder / UNET).unlink()
    unet.save_pretrained(folder / "unet", max_shard_size="200KB", variant=variant)
    shards = sorted((folder / "unet").glob("*.safetensors"))
    assert len(shards) > 1
    model = load_model(folder)
    assert same(plain, model) == ALL
    data = bytearray(shards[-1].read_bytes())
    data[-1] ^= 1
    shards[-1].write_bytes(data)
    assert load_model(folder).key != model.key
    shards[-1].unlink()
    with pytest.raises(ModelError) as caught:
        load_model(folder).make_denoiser(False)
    assert "\n" not in str(caught.value)


def test_a_trained_checkpoints_other_contents(tmp_path: Path) -> None:
    """Training leaves EMA copies, schedules and position ids in a checkpoint; SD 2's has one text layer too many."""
    for kind in ("sd15", "sd2"):
        folder = make_folder(tmp_path / kind, kind)
        file = make_single_file(tmp_path / "x.safetensors", kind, folder)
        weights = load_file(file)
        weights |= {f"model_ema.{i}": torch.ones(1) for i in range(120)}
        weights |= {"alphas_cumprod": torch.ones(1000), "betas": torch.ones(1000), "model_ema.decay": torch.tensor(0.9)}
        if kind == "sd15":
            weights["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
        else:
            prefix = "cond_stage_model.model."
            for name in [n for n in weights if ".resblocks.1." in n]:
                weights[name.replace(".resblocks.1.", ".resblocks.2.")] = weights[name] + 1
            weights |= {prefix + "attn_mask": torch.ones(77, 77), prefix + "logit_scale": torch.tensor(4.6)}
        write(file, weights)
        assert same(load_model(folder), load_model(file, config=folder)) == ALL


def test_a_checkpoint_in_half_precision(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "sd2")
    file = make_single_file(tmp_path / "m.safetensors", "sd2", folder)
    write(file, halves(load_file(file)))
    for name in (UNET, VAE, TEXT):
        write(folder / name, halves(load_file(folder / name)))
    model = load_model(file)
    assert same(load_model(folder), model) == ALL
    for module in all_networks(model):
        assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_a_checkpoints_key(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "sd15")
    file = make_single_file(tmp_path / "m.safetensors", "sd15", folder)
    key = load_model(file).key
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    copy = moved / "m.safetensors"
    copy.write_bytes(file.read_bytes())
    assert load_model(copy, config=folder).key == key
    weights = load_file(copy)
    weights["model.diffusion_model.out.2.bias"] += 1e-3
    write(copy, weights)
    assert load_model(copy, config=folder).key != key
    edit_json(folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    assert load_model(file).key != key


def test_taesd_as_published(tmp_path: Path) -> None:
    """Its repository holds the halves a second time, and a pickle."""
    folder, taesd = make_folder(tmp_path / "sd15", "sd15"), make_taesd(tmp_path / "taesd")
    want = load_model(folder, vae=taesd)
    crowded = make_taesd(tmp_path / "crowded")
    write(crowded / "taesd_encoder.safetensors", {"0.weight": torch.ones(1)})
    write(crowded / "taesd_decoder.safetensors", {"0.weight": torch.ones(1)})
    (crowded / "diffusion_pytorch_model.bin").write_bytes(b"x")
    model = load_model(folder, vae=crowded)
    assert same(want, model) == ALL
    from diffusers import AutoencoderTiny

    vae: Any = AutoencoderTiny.from_pretrained(taesd)
    got = outputs(model)
    with torch.inference_mode():
        latent = vae.encode(PIXELS.permute(0, 3, 1, 2).float() / 127.5 - 1).latents
        decoded = vae.decode(draw(2, 4, 8, 9)).sample.permute(0, 2, 3, 1)
    torch.testing.assert_close(got["latent"], latent, atol=1e-5, rtol=1e-5)
    exact = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round()
    assert float((got["picture"] - exact).abs().max()) <= 1
    assert float((got["picture"] != exact).float().mean()) < 1e-3


def test_a_whole_model_as_vae(tmp_path: Path) -> None:
    """The VAE of another pipeline's folder."""
    folder, other = make_folder(tmp_path / "a", "sd15"), make_folder(tmp_path / "b", "tinyvae")
    assert same(load_model(folder, vae=other), load_model(folder, vae=other / "vae")) == ALL


@pytest.mark.parametrize("kind", ["sd15", "pix2pix", "tinyvae"])
def test_the_vae_moved_aside_scales_the_condition(tmp_path: Path, kind: str) -> None:
    """An image-conditioned UNet takes unscaled latents of whatever VAE is used."""
    folder = make_folder(tmp_path / kind, kind)
    edit_json(folder / "vae" / "config.json", scaling_factor=0.5)
    model = load_model(folder)
    from diffusers import UNet2DConditionModel

    unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet")
    x = draw(1, unet.config.in_channels, 8, 8)
    with torch.inference_mode():
        got = whole_unet(model)(x, torch.tensor([500]), draw(1, 77, 32))
        x[:, 4:] /= 0.5
        want = unet(x, torch.tensor([500]), draw(1, 77, 32)).sample
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_every_timestep(tmp_path: Path) -> None:
    """The table of timestep embeddings is the UNet's own, for every t and mixed in a batch."""
    from diffusers import UNet2DConditionModel

    folder = make_folder(tmp_path / "sd15", "sd15")
    unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet")
    t = torch.tensor([0, 1, 20, 499, 500, 998, 999])
    x, text = draw(len(t), 4, 8, 8), draw(len(t), 77, 32)
    with torch.inference_mode():
        got = whole_unet(load_model(folder))(x, t, text)
        torch.testing.assert_close(got, unet(x, t, text).sample, atol=1e-5, rtol=1e-5)


def facts(model: Model) -> tuple[object, ...]:
    return (model.prediction, model.latent_channels, model.latent_stride, model.image_conditioned, model.text_length)


def test_facts_and_networks(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "p", "pix2pix")
    edit_json(folder / "unet" / "config.json", sample_size=24)
    model = load_model(str(folder) + "/")
    assert facts(model) == ("epsilon", 4, 8, True, 77)
    assert model.default_size == (192, 192)
    assert model.styles == ()
    with torch.inference_mode():
        row = model.make_conditioner()(torch.tensor([5]), draw(1, 77, 32))
    size = 64, 72
    networks = [model.encoder(*size), model.decoder(*size), model.text_encoder(), model.conditioner()]
    networks += [model.denoiser(*size, row.shape[1]), model.shallow(*size, row.shape[1])]
    assert {n.key for n in networks} == {model.key}
    for network in networks:
        inputs = [torch.zeros(2, *i.shape, dtype=i.dtype) for i in network.inputs]
        with torch.inference_mode():
            assert len(network.build()(*inputs)) == 2
    with torch.inference_mode():
        picture = model.make_decoder()(model.make_encoder()(torch.zeros(1, 72, 64, 3, dtype=torch.uint8)))
    assert picture.dtype == torch.uint8 and picture.shape == (1, 72, 64, 3)


@pytest.mark.parametrize("source", ["folder", "tiny"])
def test_loading_reads_no_weights_and_imports_nothing_heavy(tmp_path: Path, source: str) -> None:
    """With a warm engine cache no network is built: diffusers and transformers would only cost seconds."""
    if source == "tiny" and not (TINY / "model_index.json").is_file():
        pytest.skip("the embedded model's weights are not there")
    name = "tiny" if source == "tiny" else str(make_folder(tmp_path / "sd15", "sd15"))
    code = (
        "import sys\nfrom streamdiff.models import load_model\n"
        f"load_model({name!r}).tokenize('a cat')\n"
        "print([m for m in ('diffusers', 'transformers', 'peft', 'accelerate') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert result.stderr == ""
