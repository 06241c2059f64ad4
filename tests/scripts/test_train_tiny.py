"""The training of the embedded model: every stage runs, on its own folder of pictures with a style of its own."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import typer

from scripts.train_tiny import evaluate, export, prepare, restore, train_unet, train_vae
from scripts.train_tiny.classifier import Judge, StyleClassifier
from scripts.train_tiny.config import DEFAULT_CONFIG, load_config
from scripts.train_tiny.data import CELL, PHOTO, Cache
from scripts.train_tiny.loop import load_checkpoint
from scripts.train_tiny.measures import slow_pan, still_with_noise, structure
from scripts.train_tiny.moods import MOODS
from scripts.train_tiny.styles import STYLES
from scripts.train_tiny.styles.examples import Examples
from streamdiff import Frame, ModelError, Stream
from streamdiff.models.fingerprint import check_digests

SMALL = {
    "held_out_percent = 8": "held_out_percent = 50",
    "crops = 2": "crops = 1",
    "width = 32": "width = 8",
    "block_out_channels = [64, 128, 256]": "block_out_channels = [16, 32, 32]",
    "small_batch = 24": "small_batch = 2",
    "\nbatch = 16": "\nbatch = 2",
    "\nbatch = 10": "\nbatch = 1",
    "pixel_from = 0.25": "pixel_from = 0.0",
}


def photographs() -> dict[str, np.ndarray]:
    data = pytest.importorskip("skimage.data")
    return {name: getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")}


def goes_on_from_the_exported_model(model: Path, work: Path, later: Path, config: Path) -> None:
    restore.main(model=model, work=later, config_file=config)
    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    trained, restored = train_vae.load_vae(work, config), train_vae.load_vae(later, config)
    with torch.no_grad():
        assert torch.allclose(trained.encode(picture), restored.encode(picture), atol=0.01)
    before = load_checkpoint(work / train_unet.CHECKPOINT)
    after = load_checkpoint(later / restore.BEGIN)
    assert before and after and after["pairs"] == before["pairs"] > 0
    assert after["ema"]["average"].keys() == before["ema"]["average"].keys()
    assert all(torch.allclose(v, before["ema"]["average"][n], atol=2e-3) for n, v in after["ema"]["average"].items())
    with pytest.raises(typer.BadParameter, match="another folder"):
        restore.main(model=model, work=later, config_file=config)


def crop(picture: np.ndarray) -> np.ndarray:
    side = min(picture.shape[:2])
    return cv2.resize(picture[:side, :side], (256, 256), interpolation=cv2.INTER_AREA)


def test_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: STYLES[name] for name in (*evaluate.MOOD_STYLES, "mosaic")}
    monkeypatch.setattr("scripts.train_tiny.styles.STYLES", few)
    monkeypatch.setattr("scripts.train_tiny.measures.STRENGTHS", (0.2, 0.8))
    pictures, work, model = tmp_path / "pictures", tmp_path / "work", tmp_path / "model"
    pictures.mkdir()
    for name, picture in photographs().items():
        cv2.imwrite(str(pictures / f"{name}.png"), picture[..., ::-1])
    text = DEFAULT_CONFIG.read_text()
    for old, new in SMALL.items():
        assert old in text
        text = text.replace(old, new)
    examples = tmp_path / "mine"
    examples.mkdir()
    cv2.imwrite(str(examples / "a.png"), np.full((64, 64, 3), (200, 30, 30), np.uint8))
    text += f'\n[[examples]]\nprompt = "my blue"\nfolder = "{examples}"\nsynonyms = ["all blue"]\n'
    config = tmp_path / "config.toml"
    config.write_text(text)

    prepare.main(data=pictures, work=work, config_file=config, processes=1)
    cache = Cache(work, load_config(config))
    assert len(cache.rows(held_out=True)) and len(cache.rows(held_out=False))
    assert set(cache.layers()) == {*cache.styles, *(f"{n}, coarse" for n in cache.styles if n != PHOTO)}
    blue = np.array(cache.open("my blue")).reshape(-1, 3).mean(0)
    assert blue[2] > blue[0] + 60
    train_vae.main(work=work, config_file=config, minutes=0.02)
    train_vae.main(work=work, config_file=config, minutes=0.02, refine=train_vae.Refine.decoder)
    train_unet.main(work=work, config_file=config, minutes=0.05)
    begun = load_checkpoint(work / train_unet.CHECKPOINT)
    train_unet.main(work=work, config_file=config, minutes=0.12)
    after = load_checkpoint(work / train_unet.CHECKPOINT)
    assert begun and after and after["step"] > begun["step"]  # it went on
    export.main(work=work, data=pictures, out=model, config_file=config)
    evaluate.main(work=work, data=pictures, model=model, config_file=config, photographs=1, judge_minutes=0.02)
    card = (model / "MODEL_CARD.md").read_text()
    assert "my blue" in card and "Flicker" in card
    assert list((work / "sheets").glob("*.png"))
    with Stream.from_pretrained(model, device="cpu", prompt="all blue", width=64, height=64) as stream:
        assert stream.push(Frame(np.zeros((64, 64, 3), np.uint8)))
        assert {s.prompt for s in stream.model.styles} == {*few, "my blue"}
        assert {m.prompt for m in stream.model.moods} == set(MOODS)
    goes_on_from_the_exported_model(model, work, tmp_path / "later", config)
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-5] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(ModelError, match=r"unet.diffusion_pytorch_model"):
        check_digests(model)


@pytest.mark.parametrize("name", [n for n in STYLES if n != PHOTO])
def test_styles_differ_and_keep_what_is_in_the_picture(name: str) -> None:
    picture = crop(photographs()["astronaut"])
    styled = STYLES[name].stylise(picture)
    assert styled.shape == picture.shape and styled.dtype == np.uint8
    assert np.array_equal(styled, STYLES[name].stylise(picture))  # nothing of chance: it must be learnable
    assert np.abs(styled.astype(float) - picture).mean() > 8
    assert structure(picture, styled) > 0.25


@pytest.mark.parametrize("tone", [40, 110, 200])
@pytest.mark.parametrize("name", STYLES)
def test_screens_are_those_a_latent_cell_can_hold(name: str, tone: int) -> None:
    # Neither the denoiser nor the decoder can tell one cell from the next where the picture is even.
    styled = STYLES[name].stylise(np.full((128, 128, 3), tone, np.uint8)).astype(int)
    middle = styled[32:96, 32:96]
    assert np.abs(middle - styled[32 + CELL : 96 + CELL, 32:96]).max() <= 1
    assert np.abs(middle - styled[32:96, 32 + CELL : 96 + CELL]).max() <= 1
    if not STYLES[name].screen:
        assert np.ptp(middle, axis=(0, 1)).max() <= 1


@pytest.mark.parametrize("name", [n for n, s in STYLES.items() if s.screen])
def test_screens_are_there(name: str) -> None:
    even = (STYLES[name].stylise(np.full((64, 64, 3), tone, np.uint8)) for tone in (40, 110, 200))
    assert max(int(np.ptp(styled, axis=(0, 1)).max()) for styled in even) > 2


def test_styles_and_moods_are_many_and_apart() -> None:
    assert len(STYLES) >= 24 and len(MOODS) >= 8
    words = [w.lower() for s in STYLES.values() for w in (s.prompt, *s.synonyms)]
    words += [w.lower() for m in MOODS.values() for w in (m.name, *m.synonyms)]
    assert len(words) == len(set(words))
    picture = crop(photographs()["chelsea"])
    moods = [m.apply(picture).astype(float) for m in MOODS.values()]
    assert all(np.abs(a - b).mean() > 5 for i, a in enumerate(moods) for b in moods[:i])


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no pictures"):
        Examples(tmp_path)
    with pytest.raises(typer.BadParameter, match="holds no photographs"):
        prepare.main(data=tmp_path / "none", work=tmp_path / "work")
    assert not (tmp_path / "work" / "index.json").exists()


def test_the_judge_knows_its_styles_from_its_logits() -> None:
    judge = Judge(StyleClassifier(3), ("a", "b", "c"))
    judge.model.head.bias.data[:] = 0
    judge.model.head.bias.data[1] = 1e6
    picture = crop(photographs()["coffee"])
    assert judge.name(picture) == "b"
    assert judge.distance(picture, picture) == 0 < judge.distance(picture, picture[::-1].copy())


def test_measures() -> None:
    picture = crop(photographs()["astronaut"])
    assert structure(picture, picture) == pytest.approx(1)
    assert structure(picture, np.ascontiguousarray(picture[:, ::-1])) < 0.5
    still = still_with_noise(picture, 3)
    assert 2 < np.abs(np.diff(still.astype(float), axis=0)).mean() < 5
    pan = slow_pan(picture, 9)
    assert (
        np.abs(pan[8, :200, :200].astype(float) - pan[0, 2:202, 8:208]).mean() < 3
    )  # it moves by whole pixels after 8
