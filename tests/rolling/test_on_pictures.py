"""A rolling transformer on a picture model's latents: its folder, its VAE, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.torch_engine import TorchRuntime
from streamdiff import Frame, ModelError, Stream
from streamdiff.models.load import load_model
from streamdiff.rolling import RollingStream, load_rolling
from streamdiff.rolling.painter import Painter
from streamdiff.rolling.picture_vae import PictureVae
from tests.toy import frames

FACTS = {
    "version": "toy", "pictures": "tiny", "steps": [1000, 600, 300], "shift": 1.0, "block": 2, "span": 8, "fps": 15,
    "size": [64, 64],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy on the embedded model's latents, in the layout that the training exports."""
    from diffusers import WanTransformer3DModel

    home = tmp_path_factory.mktemp("rolling")
    torch.manual_seed(3)
    wan = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=1, attention_head_dim=24, in_channels=32, out_channels=16,
        text_dim=128, freq_dim=16, ffn_dim=32, num_layers=1,
    )  # fmt: skip
    torch.nn.init.normal_(wan.proj_out.weight, std=0.3)
    wan.save_pretrained(home / "transformer")
    (home / "rolling.json").write_text(json.dumps(FACTS))
    return home


def test_a_video_comes_back_in_blocks_and_every_setting_shows(folder: Path) -> None:
    given = frames(12)
    outs: dict[str, Any] = {}
    base = {"prompt": "watercolor", "level": 1, "seed": 0}
    blended = {"second_prompt": "anime", "blend": 0.5}
    changes = {"plain": {}, "prompt": {"prompt": "anime"}, "level": {"level": 2}, "seed": {"seed": 1}, "blend": blended}
    for name, change in changes.items():
        with RollingStream.from_pretrained(folder, device="cpu", **{**base, **change}) as stream:
            assert (stream.config.width, stream.config.height, stream.burst) == (64, 64, 2)
            out = [done for frame in given for done in stream.push(frame)] + stream.flush()
        assert [frame.index for frame in out] == [frame.index for frame in given]
        outs[name] = np.stack([frame.pixels for frame in out]).astype(int)
    assert all(np.abs(outs[name] - outs["plain"]).mean() > 0.02 for name in outs if name != "plain")


@pytest.mark.parametrize("calm", [0.0, 0.7])
def test_a_painted_video_without_a_change_is_the_picture_streams(folder: Path, tmp_path: Path, calm: float) -> None:
    """The transformer that predicts no change leaves what the picture model paints at the level's timestep."""
    from diffusers import WanTransformer3DModel

    wan = WanTransformer3DModel.from_pretrained(folder / "transformer")
    for parameter in wan.proj_out.parameters():
        torch.nn.init.zeros_(parameter)
    wan.save_pretrained(tmp_path / "transformer")
    (tmp_path / "rolling.json").write_text(json.dumps({**FACTS, "paint": [799, 399], "calm": calm}))
    given = frames(6)
    blended = {"prompt": "anime", "second_prompt": "watercolor", "blend": 0.5}
    picture = Stream.from_pretrained("tiny", engine="torch", device="cpu", width=64, height=64, calm=calm)
    with RollingStream.from_pretrained(tmp_path, engine="torch", device="cpu", prompt="mosaic", level=1) as rolling:
        for change, timestep in (
            ({}, 799), ({"level": 2}, 399), ({"prompt": "anime"}, 399), ({"seed": 7}, 399), (blended, 399),
            ({"width": 96}, 399),
        ):  # fmt: skip
            rolling.update(**change)
            out = [done for frame in given for done in rolling.push(frame)] + rolling.flush()
            settings = dict(rolling.config)
            picture.update(
                timesteps=(timestep,),
                **{n: settings[n] for n in ("prompt", "second_prompt", "blend", "seed", "width", "height")},
            )
            wanted = [picture.push(frame)[0] for frame in given]
            assert [frame.index for frame in out] == [frame.index for frame in wanted]
            assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(out, wanted, strict=True)), change
        # A new video, and one after pictures that no camera gave, begins with what is painted.
        begin: list[Callable[[], Any]] = [
            rolling.reset, lambda: list(rolling.generate(1)), lambda: rolling.continue_from(given[:2])
        ]  # fmt: skip
        for begin_anew in begin:
            begin_anew()
            first = (rolling.push(given[5]) + rolling.push(given[4]) + rolling.flush())[0]
            picture.reset()
            assert np.array_equal(first.pixels, picture.push(given[5])[0].pixels)


def test_its_vae_is_the_picture_models(folder: Path) -> None:
    model = load_rolling(folder, device="cpu")
    pixels = frames(1)[0].pixels[:64, :64]
    vae = PictureVae(load_model("tiny"), TorchRuntime(torch.device("cpu")))
    latent = vae.encoder()(torch.from_numpy(pixels[None]))
    assert latent.shape == (1, 16, 8, 8) and model.vae.stride == 1 == vae.encoder().wanted
    # An untouched picture through both halves is the picture, as far as an f8 autoencoder goes.
    back = vae.decoder()(torch.cat([latent, latent]))
    assert back.shape == (2, 64, 64, 3) and back.dtype == torch.uint8
    stream = Stream.from_pretrained("tiny", engine="torch", device="cpu", width=64, height=64)
    assert torch.equal(latent, stream.engines.encoder(torch.from_numpy(pixels[None])))
    assert torch.equal(back[:1], stream.engines.decoder(latent))
    assert {style.prompt for style in model.styles} >= {"watercolor", "anime"}


def test_engines_are_built_before_they_are_needed_and_kept(folder: Path) -> None:
    built: list[str] = []

    class Counting(TorchRuntime):
        def compile(self, network: Any) -> Any:
            built.append(network.name)
            return super().compile(network)

    model = load_rolling(folder, device="cpu")
    runtime = Counting(torch.device("cpu"))
    vae, painter = PictureVae(model.vae.model, runtime), Painter(model.vae.model, runtime, (699, 399))
    with RollingStream(replace(model, vae=vae, painter=painter), model.config()) as stream:
        assert sorted(built) == ["conditioner", "decoder", "encoder", "unet"]  # the text encoder is the stream's
        built.clear()
        for size in (64, 96, 64):
            stream.update(width=size)
            _ = [stream.push(frame) for frame in frames(4)], stream.flush()
    assert sorted(built) == ["decoder", "encoder", "unet"]
    vae.ready(64, 64)
    with RollingStream(replace(model, vae=vae, painter=painter), model.config()) as stream:
        stream.update(width=96)
    assert built.count("unet") == 1 == built.count("encoder")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"steps": [1000, 1000]}, "rolling.json. does not describe a rolling model: timesteps"),
        ({"size": [64, 70]}, "two multiples of 16"),
        ({"span": 7}, "do not make two or more blocks"),
        ({"pictures": "none"}, "none. is not there"),
        ({"what": 1}, "unknown setting 'what'"),
        ({"paint": [499]}, "one timestep for each level from 1 to 2"),
        ({"paint": [499, 1000]}, "tiny knows 0 to 999"),
        ({"calm": 0.5}, "for what is painted, and paint is empty"),
    ],
)
def test_facts_that_do_not_fit(folder: Path, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    (tmp_path / "rolling.json").write_text(json.dumps({**FACTS, **change}))
    (tmp_path / "transformer").symlink_to(folder / "transformer")
    with pytest.raises(ModelError, match=says) as refused:
        load_rolling(tmp_path, device="cpu")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"in_channels": 16}, "in_channels is 16, wanted 32"),
        ({"text_dim": 64}, "does not fit the picture model tiny: text_dim"),
        ({"_class_name": "UNet2DConditionModel"}, "class is UNet2DConditionModel"),
        ({"num_layers": 2}, "weights are missing"),
    ],
)
def test_a_transformer_that_does_not_fit(folder: Path, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    (tmp_path / "rolling.json").write_text(json.dumps(FACTS))
    inner = tmp_path / "transformer"
    inner.mkdir()
    for file in (folder / "transformer").glob("*.safetensors"):
        (inner / file.name).symlink_to(file)
    config = json.loads((folder / "transformer" / "config.json").read_text())
    (inner / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ModelError, match=says):
        load_rolling(tmp_path, device="cpu")


def test_a_damaged_file_is_noticed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "rolling.json").write_text(json.dumps(FACTS))
    (tmp_path / "checksums.json").write_text(json.dumps({"sha256": {"rolling.json": "0" * 64}}))
    with pytest.raises(ModelError, match="damaged"):
        load_rolling(tmp_path, device="cpu")


@pytest.mark.parametrize("option", ["checkpoint", "decoder"])
def test_wans_files_are_not_for_it(folder: Path, option: str) -> None:
    with pytest.raises(ModelError, match=f"{option} .*that is for Wan2.1"):
        load_rolling(folder, device="cpu", **{option: "x.pt"})


def test_a_shape_of_its_own(folder: Path) -> None:
    with RollingStream.from_pretrained(folder, device="cpu", width=96, height=64, level=2) as stream:
        out = [done for frame in frames(4) for done in stream.push(frame)] + stream.flush()
    assert [frame.pixels.shape for frame in out] == [(64, 96, 3)] * 4
    assert isinstance(out[0], Frame)
