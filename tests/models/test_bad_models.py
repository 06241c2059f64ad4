"""Damaged, unsuitable and mixed-up models: one line that says what to do, never a traceback or silent rubbish."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from streamdiff import ModelError
from streamdiff.models import load_model
from streamdiff.models.fingerprint import safetensors_header
from tests.models.toys import all_networks, make_folder, make_single_file, make_taesd

WEIGHTS = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text_encoder": "text_encoder/model.safetensors",
}


def edit_json(path: Path, **change: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def build_all(*args: Any, **kwargs: Any) -> None:
    """Everything that an engine would ask for."""
    all_networks(load_model(*args, **kwargs))


def refused(says: str, *args: Any, **kwargs: Any) -> None:
    """Refused when it is loaded or, at the latest, when a network is built."""
    with pytest.raises(ModelError, match=says) as caught:
        build_all(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600


def refused_at_once(says: str, *args: Any, **kwargs: Any) -> None:
    """Refused by load_model itself: a warm engine cache builds nothing that could find the fault."""
    with pytest.raises(ModelError, match=says) as caught:
        load_model(*args, **kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", list(WEIGHTS))
def test_a_missing_weight_is_not_made_up(tmp_path: Path, part: str) -> None:
    folder = make_folder(tmp_path / "a", "sd15")
    weights = load_file(folder / WEIGHTS[part])
    del weights[sorted(weights)[len(weights) // 2]]
    save_file(weights, folder / WEIGHTS[part], metadata={"format": "pt"})
    refused(part, folder)


@pytest.mark.parametrize("part", list(WEIGHTS))
def test_a_weight_of_another_shape(tmp_path: Path, part: str) -> None:
    folder = make_folder(tmp_path / "a", "sd15")
    weights = load_file(folder / WEIGHTS[part])
    name = next(n for n in sorted(weights) if weights[n].ndim == 2 and "position" not in n and "token" not in n)
    weights[name] = torch.ones(3, 5)
    save_file(weights, folder / WEIGHTS[part], metadata={"format": "pt"})
    refused(part, folder)


@pytest.mark.parametrize("prefix", ["model.diffusion_model.out", "first_stage_model.decoder", "cond_stage_model"])
@pytest.mark.parametrize("kind", ["sd15", "sd2"])
def test_a_checkpoint_that_lacks_weights(tmp_path: Path, kind: str, prefix: str) -> None:
    folder = make_folder(tmp_path / "m", kind)
    file = make_single_file(tmp_path / "m.safetensors", kind, folder)
    save_file({k: v for k, v in load_file(file).items() if not k.startswith(prefix)}, file)
    refused("missing|cannot be", file)


def test_a_checkpoint_with_another_models_configuration(tmp_path: Path) -> None:
    folder, other = make_folder(tmp_path / "a", "sd15"), make_folder(tmp_path / "b", "pix2pix")
    file = make_single_file(tmp_path / "m.safetensors", "sd15", folder)
    refused("cannot be loaded", file, config=other)


def test_a_checkpoint_with_a_poor_configuration(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "sd15")
    file = make_single_file(tmp_path / "m.safetensors", "sd15", folder)
    refused_at_once("missing|is not there|not a folder", file, config=tmp_path / "nothing")
    refused_at_once("missing|directory|folder", file, config=file)
    for part in ("tokenizer", "scheduler", "vae", "text_encoder"):
        poor = Path(shutil.copytree(folder, tmp_path / f"without {part}"))
        shutil.rmtree(poor / part)
        refused_at_once(part, file, config=poor)


def test_a_damaged_checkpoint(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "sd15")
    file = make_single_file(tmp_path / "m.safetensors", "sd15", folder)
    whole = file.read_bytes()
    for size, says in [(0, "not a safetensors"), (7, "not a safetensors"), (100, "not a safetensors"),
                       (len(whole) - 1, "cut short")]:  # fmt: skip
        file.write_bytes(whole[:size])
        refused_at_once(says, file)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    refused_at_once("not a safetensors", file)


def test_a_bare_checkpoint_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SD 1.5 file needs its base model's tokenizer; offline, the message says where to put it."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    key = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    for width in (768, 1024):
        save_file({key: torch.ones(4, width)}, tmp_path / "dream.safetensors")
        refused_at_once("dream/", tmp_path / "dream.safetensors")
    save_file({key: torch.ones(4, 2048)}, tmp_path / "xl.safetensors")
    refused_at_once("2048", tmp_path / "xl.safetensors")


def test_what_unsupported_models_say(tmp_path: Path) -> None:
    changes: list[tuple[str, dict[str, Any], str]] = [
        ("unet", {"addition_embed_type": "text_time"}, "SDXL"),
        ("unet", {"class_embed_type": "timestep"}, "conditioning"),
        ("unet", {"num_class_embeds": 1000}, "conditioning"),
        ("unet", {"in_channels": 9}, "9"),
        ("unet", {"out_channels": 8}, "8"),
        ("vae", {"latent_channels": 16}, "16"),
        ("scheduler", {"prediction_type": "flow_prediction"}, "flow_prediction"),
        ("scheduler", {"beta_schedule": "sigmoid"}, "sigmoid"),
    ]
    for i, (part, change, says) in enumerate(changes):
        folder = make_folder(tmp_path / str(i), "sd15")
        edit_json(folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json"), **change)
        refused_at_once(says, folder)


@pytest.mark.parametrize(
    ("part", "name"),
    [("unet", "UNet3DConditionModel"), ("vae", "AsymmetricAutoencoderKL"), ("vae", "VQModel"),
     ("text_encoder", "T5EncoderModel")],
)  # fmt: skip
def test_another_class(tmp_path: Path, part: str, name: str) -> None:
    folder = make_folder(tmp_path / "a", "sd15")
    key = "architectures" if part == "text_encoder" else "_class_name"
    edit_json(folder / part / "config.json", **{key: [name] if key == "architectures" else name})
    refused(name, folder)


def test_t5s_configuration(tmp_path: Path) -> None:
    """It calls its width d_model: no KeyError."""
    folder = make_folder(tmp_path / "a", "sd15")
    config = {"architectures": ["T5EncoderModel"], "d_model": 32, "model_type": "t5"}
    (folder / "text_encoder" / "config.json").write_text(json.dumps(config))
    refused_at_once("T5|text_encoder", folder)


def test_a_text_encoder_of_another_width(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", "sd15")
    edit_json(folder / "unet" / "config.json", cross_attention_dim=48)
    refused("48|unet", folder)


@pytest.mark.parametrize("kind", ["kl", "tiny"])
def test_a_vae_of_another_stride(tmp_path: Path, kind: str) -> None:
    """A latent pixel is 8 picture pixels everywhere here; a VAE of 4 would give latents of another size."""
    from diffusers import AutoencoderKL, AutoencoderTiny

    if kind == "kl":
        vae: Any = AutoencoderKL(
            block_out_channels=(8, 16, 16), norm_num_groups=4, latent_channels=4, layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        )  # fmt: skip
    else:
        vae = AutoencoderTiny(
            encoder_block_out_channels=(8,) * 3, decoder_block_out_channels=(8,) * 3, num_encoder_blocks=(1, 1, 1),
            num_decoder_blocks=(1, 1, 1), latent_channels=4,
        )  # fmt: skip
    vae.save_pretrained(tmp_path / "vae")
    refused("8", make_folder(tmp_path / "a", "sd15"), vae=tmp_path / "vae")


def test_a_damaged_vae(tmp_path: Path) -> None:
    folder, vae = make_folder(tmp_path / "a", "sd15"), make_taesd(tmp_path / "vae")
    weights = vae / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-3])
    refused_at_once("cut short", folder, vae=vae)
    weights.write_bytes(b"")
    refused_at_once("not a safetensors file", folder, vae=vae)
    weights.unlink()
    refused_at_once("no weights", folder, vae=vae)
    weights.write_bytes(whole)
    refused_at_once("not a folder", folder, vae=weights)
    refused_at_once("cannot be loaded", folder, vae="madebyollin/taesd")


NAMES = ["", " ", ".", "x" * 5000, "a/" * 3000, "a\x00b", "a/b/c/d", "../nothing", "~nobody/x", "photo.jpg", "x.CKPT",
         "CON", "tiny ", "Tiny", "a/..", "--/--", "日本/語"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
def test_names_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_folder(tmp_path / "sd15", "sd15")
    for call in [{"source": name}, {"source": folder, "vae": name}, {"source": folder, "lora": [name]}]:
        with pytest.raises(ModelError) as caught:
            load_model(**call)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "scheduler", "tokenizer"])
@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff\xfe", b"{", b'{"a": 1}'])
def test_damaged_configurations(tmp_path: Path, part: str, content: bytes) -> None:
    folder = make_folder(tmp_path / "a", "sd15")
    name = {"scheduler": "scheduler_config.json", "tokenizer": "vocab.json"}.get(part, "config.json")
    (folder / part / name).write_bytes(content)
    if part == "scheduler" and content == b'{"a": 1}':  # all defaults
        assert load_model(folder).prediction == "epsilon"
        return
    refused(part, folder)


FIELDS = [
    ("unet", "in_channels"), ("unet", "sample_size"), ("vae", "latent_channels"), ("vae", "scaling_factor"),
    ("text_encoder", "hidden_size"), ("text_encoder", "max_position_embeddings"),
    ("scheduler", "num_train_timesteps"), ("scheduler", "beta_start"), ("scheduler", "beta_schedule"),
    ("scheduler", "trained_betas"), ("scheduler", "prediction_type"), ("unet", "_class_name"),
]  # fmt: skip


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("fuzz") / "a", "sd15")


@settings(max_examples=60, deadline=None)
@given(field=st.sampled_from(FIELDS), value=st.sampled_from(["big", "", [], {}, [1, "x"], -1, 0, 1e999, True, "1e3"]))
def test_nonsense_in_a_configuration(fuzzed: Path, field: tuple[str, str], value: Any) -> None:
    """A model or a ModelError, nothing else."""
    part, name = field
    path = fuzzed / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    before = path.read_text()
    try:
        edit_json(path, **{name: value})
        try:
            load_model(fuzzed)
        except ModelError as error:
            assert "\n" not in str(error)
    finally:
        path.write_text(before)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_bytes_as_weights(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """The header's reader takes any file: garbage, cut anywhere, or with bytes of the header changed."""
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    save_file({"a": torch.ones(3, 2), "b": torch.zeros(5)}, path)
    whole = bytearray(path.read_bytes())
    form = data.draw(st.sampled_from(["garbage", "cut", "changed", "json"]))
    if form == "garbage":
        whole = bytearray(data.draw(st.binary(max_size=300)))
    elif form == "cut":
        del whole[data.draw(st.integers(0, len(whole) - 1)) :]
    elif form == "json":
        text = json.dumps(data.draw(st.recursive(st.none() | st.integers() | st.text(max_size=3),
            lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("data_offsets"), s,
            max_size=3), max_leaves=8))).encode()  # fmt: skip
        whole = bytearray(len(text).to_bytes(8, "little") + text)
    else:
        for _ in range(3):
            whole[data.draw(st.integers(0, 120))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        safetensors_header(path)
    except ModelError as error:
        assert "\n" not in str(error)
        return
    assert form in ("changed", "json")


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_an_unreadable_file(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", "sd15")
    (folder / WEIGHTS["unet"]).chmod(0)
    refused_at_once("ermission", folder)
