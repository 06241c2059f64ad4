"""Loading: a released checkpoint's layout over a diffusers folder, prompts through UMT5, and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from streamdiff.errors import ModelError
from streamdiff.rolling import RollingConfig, RollingModel, RollingStream, load_rolling
from tests.rolling.conftest import weights
from tests.rolling.toys import toy_transformer


def trained(w: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names as FSDP and activation checkpointing leave them in a training checkpoint."""
    named: dict[str, Tensor] = {}
    for name, value in w.items():
        if name.startswith("blocks."):
            _, index, rest = name.split(".", 2)
            name = f"blocks.{index}._fsdp_wrapped_module._checkpoint_wrapped_module.{rest}"
        named[f"model._fsdp_wrapped_module.{name}"] = value
    return named


@pytest.fixture
def changed(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the folder with some of a part's configuration changed, or the part removed."""

    def change(part: str, **settings: Any) -> Path:
        home = tmp_path / "changed"
        shutil.copytree(folder, home)
        if not settings:
            shutil.rmtree(home / part)
            return home
        path = home / part / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
        return home

    return change


def flow(model: RollingModel) -> Tensor:
    """What a model's transformer makes of a fixed input."""
    from streamdiff.rolling.denoiser import RollingDenoiser

    generator = torch.Generator().manual_seed(0)
    denoiser: RollingDenoiser[None] = RollingDenoiser(
        model.transformer, model.ladder, model.span, (4, 4), torch.randn(1, 5, 8, generator=generator)
    )
    z, noise = torch.zeros(denoiser.noise_shape[1:]), torch.randn(denoiser.noise_shape, generator=generator)
    denoiser.push(z, noise, None, 3)
    out = denoiser.push(z, noise, None, 3)
    assert out is not None
    return out[0]


@pytest.mark.parametrize("part", ["generator_ema", "generator", "bare", "safetensors"])
def test_a_released_checkpoint(folder: Path, tmp_path: Path, part: str) -> None:
    w = weights(seed=7)
    path = tmp_path / ("model.safetensors" if part == "safetensors" else "checkpoint.pt")
    if part == "safetensors":
        save_file(w, path)
    elif part == "bare":
        torch.save({f"model.{name}": value for name, value in w.items()}, path)
    else:
        saved: dict[str, Any] = {"critic": trained(weights(seed=9)), "step": 3, part: trained(w)}
        if part == "generator_ema":
            saved["generator"] = trained(weights(seed=8))
        torch.save(saved, path)
    model = load_rolling(folder, path, device="cpu")
    wanted = toy_transformer(w, 2).state_dict()
    loaded = model.transformer.state_dict()
    assert loaded.keys() == wanted.keys()
    assert all(torch.equal(loaded[name], wanted[name]) for name in wanted)
    assert (model.default_size, model.fps, model.ladder.timesteps[-1]) == ((832, 480), 16.0, 555.5556030273438)
    assert not torch.equal(flow(model), flow(load_rolling(folder, device="cpu")))


def test_a_stream_through_every_part(folder: Path) -> None:
    with RollingStream.from_pretrained(folder, device="cpu", prompt="a lake", width=64, height=64) as stream:
        pictures = [frame.pixels for frame in stream.generate(1)]
    assert len(pictures) == 9 and pictures[0].shape == (64, 64, 3)


def test_bfloat16_keeps_what_is_small_exact(folder: Path) -> None:
    exact, half = (load_rolling(folder, device="cpu", precision=p) for p in (torch.float32, torch.bfloat16))
    names = half.transformer.state_dict()
    assert {n for n, v in names.items() if v.dtype == torch.float32} == {
        n for n in names if "condition_embedder" in n or "scale_shift_table" in n or ".norm2." in n
    }
    difference = flow(exact) - flow(half)
    assert 0 < difference.abs().max() < 0.2 and difference.abs().mean() < 0.02


def test_prompts(folder: Path) -> None:
    from transformers import UMT5EncoderModel

    model = load_rolling(folder, device="cpu")
    ids = model.tokenize("a  lake\nat &amp;amp; dawn")
    assert ids.shape == (1, 512) and ids.dtype == torch.int64
    assert ids[0, :8].tolist() == [3, 4, 5, 7, 6, 1, 0, 0] and not ids[0, 8:].any()
    assert model.tokenize("a " * 600)[0, -1] == 1  # cut, and still ended
    embedding = model.make_text_encoder()(ids)
    assert embedding.shape == (1, 512, 8) and embedding.dtype == torch.float32
    assert not embedding[0, 6:].any()
    # The padding is not attended to: six tokens alone give the same.
    alone = UMT5EncoderModel.from_pretrained(folder / "text_encoder").eval()(ids[:, :6]).last_hidden_state
    assert torch.allclose(embedding[:, :6], alone, atol=1e-6)


def test_two_models_share_one_text_encoder(folder: Path) -> None:
    keys = {load_rolling(folder, device="cpu").key for _ in range(2)}
    assert len(keys) == 1
    assert load_rolling(folder, device="cpu", precision=torch.bfloat16).key not in keys


@pytest.mark.parametrize("part", ["vae", "text_encoder", "transformer", "tokenizer"])
def test_a_missing_part(changed: Callable[..., Path], part: str) -> None:
    with pytest.raises(ModelError, match=f"has no {part}; give the whole folder of Wan2.1-T2V-1.3B"):
        load_rolling(changed(part), device="cpu")


@pytest.mark.parametrize(
    ("part", "settings", "message"),
    [
        ("transformer", {"patch_size": [1, 4, 4]}, "transformer/patch_size gives"),
        ("transformer", {"image_dim": 1280}, "transformer/image_dim gives 1280, wanted None"),
        ("transformer", {"in_channels": 36}, "transformer/in_channels gives 36, wanted 4"),
        ("transformer", {"text_dim": 4096}, "transformer/text_dim gives 4096, wanted 8"),
        ("vae", {"z_dim": 48}, "transformer/in_channels gives 4, wanted 48"),
        ("vae", {"patch_size": 2}, "vae/patch_size gives 2, wanted None"),
        ("vae", {"temperal_downsample": [True, True, True]}, "vae/temperal_downsample gives 3, wanted 2"),
        ("vae", {"_class_name": "AutoencoderKL"}, "is a AutoencoderKL, wanted AutoencoderKLWan"),
        ("text_encoder", {"architectures": ["CLIPTextModel"]}, "is a CLIPTextModel, wanted UMT5EncoderModel"),
        ("transformer", {"num_layers": 3}, "weights are missing, such as blocks.2."),
    ],
)
def test_a_folder_of_another_geometry(
    changed: Callable[..., Path], part: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        load_rolling(changed(part, **settings), device="cpu")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("w", "message"),
    [
        (weights(heads=3), "is of another geometry than the model's folder: .* wanted"),
        (weights(layers=3), "it has blocks.2.attn1.norm_k.weight and differs in 2. more"),
        (weights(layers=1), "it lacks blocks.1.attn1.norm_k.weight and differs in 2. more"),
        ({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}, "is a checkpoint of another model: it has"),
        ({"generator_ema": 3}, "is a checkpoint of another model"),
    ],
    ids=["wider", "deeper", "shallower", "another model", "no tensors"],
)
def test_a_checkpoint_that_does_not_fit(folder: Path, tmp_path: Path, w: dict[str, Any], message: str) -> None:
    path = tmp_path / "other.pt"
    torch.save(w, path)
    with pytest.raises(ModelError, match=message) as refused:
        load_rolling(folder, path, device="cpu")
    assert "\n" not in str(refused.value)


class Trap:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("code in a checkpoint was run",)


def test_files_that_are_no_weights(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"generator_ema": Trap()}, tmp_path / "trap.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"generator_ema": Trap()}))
    (tmp_path / "cut.pt").write_bytes((tmp_path / "trap.pt").read_bytes()[:200])
    (tmp_path / "cut.safetensors").write_bytes(b"\x00" * 4)
    for name in ("trap.pt", "old.pt", "cut.pt"):
        with pytest.raises(ModelError, match="cannot be read as weights") as refused:
            load_rolling(folder, tmp_path / name, device="cpu")
        assert "\n" not in str(refused.value)
    with pytest.raises(ModelError, match="is not a safetensors file"):
        load_rolling(folder, tmp_path / "cut.safetensors", device="cpu")
    with pytest.raises(ModelError, match="is not there; check the path"):
        load_rolling(folder, tmp_path / "none.pt", device="cpu")
    with pytest.raises(ModelError, match=r"is not a folder; give tiny-rolling, or Wan2\.1-T2V-1\.3B"):
        load_rolling(tmp_path / "none", device="cpu")
    assert capsys.readouterr().out == ""


def test_a_damaged_text_encoder_is_found_when_it_is_needed(changed: Callable[..., Path]) -> None:
    home = changed("vae", base_dim=4)
    path = home / "text_encoder" / "model.safetensors"
    save_file(dict(list(load_file(path).items())[1:]), path, metadata={"format": "pt"})
    model = load_rolling(home, device="cpu")
    with pytest.raises(ModelError, match="weights are missing, such as"):
        RollingStream(model, RollingConfig.make(width=64, height=64))
