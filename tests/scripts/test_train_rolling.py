"""The training of the rolling model: it trains what runs, stages go on where they ended, steadiness is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import typer

from scripts.train_rolling import clips, evaluate, export, train
from scripts.train_rolling.card import FIGURES, write_card
from scripts.train_rolling.config import DEFAULT_CONFIG, load_config
from scripts.train_rolling.episodes import Episode
from scripts.train_rolling.measures import motion, warped_error
from scripts.train_rolling.rollout import Rollout, TrainingDenoiser
from scripts.train_rolling.run import build
from scripts.train_tiny.config import load_config as load_picture_config
from scripts.train_tiny.data import PHOTO, Cache, Photo
from scripts.train_tiny.loop import load_checkpoint
from scripts.train_tiny.measures import slow_pan
from scripts.train_tiny.styles import STYLES
from streamdiff import Frame
from streamdiff.rolling import RollingStream
from streamdiff.rolling.denoiser import RollingDenoiser
from streamdiff.rolling.transformer import RollingTransformer
from tests.apps.media import video

SMALL = {
    "heads = 4": "heads = 1", "head_width = 48": "head_width = 24", "layers = 6": "layers = 1", "ffn = 768": "ffn = 24",
    "block = 3 ": "block = 2 ", "span = 18": "span = 8",
    "steps = [1000, 800, 600, 400, 200]": "steps = [1000, 600, 300]",
    "size = [128, 128]": "size = [64, 64]", "segments = 4": "segments = 1", "frames = 21": "frames = 8",
    "size = [192, 160]": "size = [96, 64]", "steadiness = 1.45": "steadiness = 100.0", "streams = 6": "streams = 2",
    "blocks = 6": "blocks = 4", "pixel_from = 0.35": "pixel_from = 0.0",
    "paint = [899, 699, 499, 249]": "paint = [699, 399]",
    "sizes = [[128, 128], [128, 128], [128, 128], [160, 96], [96, 160], [176, 96]]": "sizes = [[64, 64], [96, 64]]",
    "level_shares = [0.0, 0.1, 0.25, 0.45, 0.2]": "level_shares = [0.1, 0.4, 0.5]",
    "level_style = [1.0, 1.0, 1.0, 1.0, 0.6]": "level_style = [1.0, 1.0, 0.6]",
}  # fmt: skip


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = DEFAULT_CONFIG.read_text()
    for old, new in SMALL.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_text(text)
    return path


def small(config_file: Path) -> tuple[Any, RollingTransformer, Any]:
    config = load_config(config_file)
    torch.manual_seed(0)
    wan, rolling = build(config)
    torch.nn.init.normal_(wan.proj_out.weight, std=0.3)
    return wan, rolling, config.model


def test_a_rollout_is_the_window_that_runs_with_gradients(config_file: Path) -> None:
    wan, rolling, model = small(config_file)
    camera, answer = torch.randn(2, 10, 16, 8, 8)
    text = torch.randn(1, 48, 128)
    for level in (0, 1, 2):
        episode = Episode(camera, answer, text, level, 1.0)
        torch.manual_seed(level)
        rollout, finished = Rollout(rolling, model, episode, 0), []
        while not rollout.over:
            wan.zero_grad()
            predicted = rollout.step(own=1.0)
            (predicted.clean - predicted.answer).square().mean().backward()
            assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in wan.parameters() if p.ndim > 1)
            finished.append(predicted.clean.detach()[:2])
        torch.manual_seed(level)
        plain: RollingDenoiser[None] = RollingDenoiser(rolling, model.ladder(), model.reach(), (8, 8), text)
        wanted = [plain.push(z, torch.randn(plain.noise_shape), None, level) for z in camera.split(2)]
        while plain.held:
            wanted.append(plain.advance())
        ours = finished[-5:]  # the oldest block of each of the last passes is the one that became final
        for (final, _), mine in zip([out for out in wanted if out is not None], ours, strict=True):
            assert (final - mine).abs().max() < 1e-5


def test_what_goes_on_is_own_or_the_truth(config_file: Path) -> None:
    _, rolling, model = small(config_file)
    camera, answer = torch.randn(2, 2, 16, 8, 8)
    denoiser = TrainingDenoiser(rolling, model, Episode(camera, answer, torch.randn(1, 48, 128), 0, 1.0))
    for own in (0.0, 1.0):
        denoiser.own = own
        denoiser.let_in(camera, answer, 0)
        (block,) = denoiser.held[:1]
        predicted = denoiser.predicted
        assert predicted is not None
        gone_on = predicted.clean[-2:].detach() if own else answer
        sigma = model.ladder().sigma(1)
        assert torch.allclose(block.x, (1 - sigma) * gone_on + sigma * block.noise[1])


def picture_cache(folder: Path) -> None:
    """train_tiny's cache, filled with pictures that cost nothing."""
    config = load_picture_config()
    cache = Cache(folder, config)
    names = [f"{i}.png" for i in range(40)]
    photos = [Photo(name, "", 0) for name in names]
    kept = [p for p in photos if not p.held_out(config.data.held_out_percent)][:2]
    cache.write_index(kept)
    rng = np.random.default_rng(0)
    for i, name in enumerate(cache.styles):
        array = cache.create(name)
        array[:, 0] = np.clip(rng.integers(0, 256, (2, 32, 32, 3)).repeat(8, 1).repeat(8, 2) + 4 * i, 0, 255)
        cache.set_done(name, [2, 0])
        if i:
            cache.create(f"{name}, coarse")
            cache.set_done(f"{name}, coarse", [0, 0])


def test_every_stage(tmp_path: Path, config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: STYLES[name] for name in (PHOTO, "anime", "mosaic", "pop art", "sepia photo", "linocut", "hologram")}
    for module in ("train_tiny.styles", "train_rolling.clips"):
        monkeypatch.setattr(f"scripts.{module}.STYLES", few)
    data, work, pictures, model = (tmp_path / name for name in ("data", "work", "pictures", "model"))
    (data / "clips").mkdir(parents=True)
    for name in ("a.mp4", "tears-of-steel.mp4"):
        video(data / "clips" / name, 40)
    picture_cache(pictures)
    paths: dict[str, Any] = {"work": work, "config_file": config_file}

    clips.main(data=data, **paths, processes=1)
    kept = clips.Clips(work, load_config(config_file).clips)
    assert len(kept) == 1 and len(kept.arrays) == len(few)
    assert {array.shape for array in kept.arrays.values()} == {(1, 8, 64, 96, 3)}
    middle = sorted(kept.steadiness.values())[3]
    steady = clips.Clips(work, load_config(config_file).clips.model_copy(update={"steadiness": middle}))
    assert 4 <= len(steady.arrays) - 1 < len(kept.arrays) - 1 == len(kept.steadiness)

    train.main(**paths, pictures=pictures, minutes=0.02)
    first = load_checkpoint(work / train.CHECKPOINT)
    assert first
    train.main(**paths, pictures=pictures, minutes=first["seconds"] / 60 + 0.01)
    later = load_checkpoint(work / train.CHECKPOINT)
    assert later and later["step"] > first["step"] > 0
    after_it: dict[str, Any] = {"config_file": config_file, "pictures": pictures, "minutes": 0.02}
    train.main(work=tmp_path / "after", start_from=work / train.CHECKPOINT, **after_it)
    after = load_checkpoint(tmp_path / "after" / train.CHECKPOINT)
    told = {"stage": "rolling", "steps": later["step"], "frames": later["frames"], "seconds": later["seconds"]}
    assert after and after["history"] == [told]

    other = tmp_path / "other.toml"
    other.write_text(config_file.read_text().replace("paint = [699, 399]", "paint = [699, 299]"))
    for refused in (export.main, train.main):
        with pytest.raises(
            typer.BadParameter, match=r"paint = \[699, 399\] and calm = 0.7, the config has \[699, 299\]"
        ):
            refused(work=work, config_file=other, **({"pictures": pictures} if refused is train.main else {}))
    export.main(work=work, data=data, out=model, config_file=config_file)
    assert json.loads((model / "rolling.json").read_text())["paint"] == [699, 399]
    train.main(work=tmp_path / "later", start_from=model, **after_it)
    going_on = load_checkpoint(tmp_path / "later" / train.CHECKPOINT)
    assert going_on and [one["stage"] for one in going_on["history"]] == ["rolling"]
    with RollingStream.from_pretrained(model, device="cpu", prompt="anime", level=1) as stream:
        out = [done for i in range(4) for done in stream.push(Frame(np.full((64, 64, 3), 90, np.uint8), index=i))]
        assert [f.index for f in out + stream.flush()] == [0, 1, 2, 3]
    sample = tmp_path / "sample.webp"
    evaluate.main(data=data, model=model, config_file=config_file, style=["anime"], sample=sample, frames=12, level=2)
    assert sample.stat().st_size > 1000 and not (model / FIGURES).exists()
    figures = {"flicker": 1.0, "warped": 2.0, "left": 0.5}
    row = {"stream": figures, "calm": {**figures, "flicker": 0.8}, "rolling": figures}
    told = {"clips": ["a.mp4"], "frames": 12, "level": 2, "strength": 0.5, "fps": 9.0, "machine": "here", "calm": 0.7}
    (model / FIGURES).write_text(json.dumps({**told, "mean": row, "styles": {"anime": row}}))
    write_card(model, load_config(config_file), data)
    card = (model / "MODEL_CARD.md").read_text()
    assert f"video: 0 minutes, {later['step']} steps" in card
    assert (
        "| anime | 1.00 | 0.80 | 1.00 | 2.00 | 2.00 | 2.00 | 0.50 | 0.50 | 0.50 |" in card
        and "9.0 pictures a second" in card
    )


def test_steadiness_is_what_moves_with_the_picture() -> None:
    data = pytest.importorskip("skimage.data")
    photo = cv2.resize(data.astronaut(), (128, 128), interpolation=cv2.INTER_AREA)
    pan = slow_pan(photo, 8, pixels=2.0)
    came_from = motion(pan)
    rng = np.random.default_rng(0)
    painted = np.asarray(255 - pan, dtype=np.uint8)
    boiling = np.clip(painted + rng.normal(0, 20, painted.shape), 0, 255).astype(np.uint8)
    held = np.repeat(painted[:1], len(pan), axis=0)
    steady = warped_error(painted, pan, came_from)
    assert steady < 2.5
    assert warped_error(boiling, pan, came_from) > 5 * steady
    assert warped_error(held, pan, came_from) > 2 * steady  # it stands still while its input moves
