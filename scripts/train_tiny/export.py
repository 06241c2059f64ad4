"""Stage 6: write the averaged weights as a diffusers folder in fp16, with styles.json and the model card."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from diffusers import StableDiffusionInstructPix2PixPipeline

from .card import FACTS, TRAINING, write_card
from .config import DEFAULT_CONFIG, DEFAULT_DATA, DEFAULT_OUT, DEFAULT_WORK, Config, load_config
from .data import write_json
from .loop import Ema, load_checkpoint
from .moods import MOODS
from .train_unet import CHECKPOINT, Denoiser
from .train_vae import CHECKPOINT as VAE_CHECKPOINT
from .train_vae import load_vae
from .unet import build_scheduler
from .vae import max_difference, to_autoencoder_tiny

LIMIT_MB = 45.0
TOLERANCE = 1e-5


def add_slow_tokenizer_files(folder: Path) -> None:
    """Write vocab.json and merges.txt beside tokenizer.json, for loaders that want the older pair."""
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    write_json(folder / "vocab.json", model["vocab"])
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(pairs) + "\n", encoding="utf-8")


def replace_files(source: Path, target: Path) -> None:
    """Move every file of `source` over its namesake in `target`, each in one atomic step; other files stay."""
    files = [p for p in source.rglob("*") if p.is_file()]
    for path in files:
        (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
    for path in files:
        path.replace(target / path.relative_to(source))


@contextmanager
def placed(out: Path, limit_mb: float) -> Iterator[Path]:
    """A folder to write a model into; in the end its files take the place of those in `out`, where others may load
    them meanwhile.

    Raises:
        RuntimeError: it is larger than `limit_mb`; `out` is as it was.
    """
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".export-", dir=out.parent))
    try:
        yield folder
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
        if size > limit_mb:
            raise RuntimeError(f"the model is {size:.1f} MB, more than {limit_mb} MB")
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        replace_files(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every weight file, by its path in the folder."""
    files = sorted(folder.rglob("*.safetensors"))
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def build(work: Path, config: Config, config_file: Path, folder: Path) -> dict[str, Any]:
    """Write the diffusers folder; returns facts for the card."""
    state = load_checkpoint(work / CHECKPOINT)
    if state is None:
        raise FileNotFoundError(f"no {CHECKPOINT} in {work}: run train_unet first")
    model = Denoiser(config, work / "tokenizer")
    ema = Ema(model, config.unet.ema)
    ema.load_state_dict(state["ema"])
    ema.copy_to(model)
    vae = load_vae(work, config_file)
    tiny = to_autoencoder_tiny(vae, config.vae)
    difference = max_difference(vae, tiny)
    if difference > TOLERANCE:
        raise RuntimeError(f"the exported autoencoder differs from the trained one by {difference:.2e}")
    half = torch.float16
    pipeline = StableDiffusionInstructPix2PixPipeline(
        vae=tiny.to(half),
        text_encoder=model.text.to(half),
        tokenizer=model.tokenizer,
        unet=model.unet.to(half),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    add_slow_tokenizer_files(folder / "tokenizer")
    vae_state = load_checkpoint(work / VAE_CHECKPOINT) or {}
    return {
        "pairs": int(state["pairs"]),
        "unet_minutes": float(state["seconds"]) / 60,
        "vae_minutes": float(vae_state.get("seconds", 0)) / 60,
        "vae_figures": vae_state.get("figures", {}),
        "vae_difference": difference,
        "started_from": str(state.get("started_from", "")),
        "size_mb": sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6,
        "parameters": {
            name: sum(p.numel() for p in getattr(pipeline, name).parameters())
            for name in ("unet", "vae", "text_encoder")
        },
    }


def main(
    work: Annotated[Path, typer.Option(help="folder for caches and checkpoints")] = DEFAULT_WORK,
    data: Annotated[Path, typer.Option(help="folder of photographs, for the credits")] = DEFAULT_DATA,
    out: Annotated[Path, typer.Option(help="the model's folder")] = DEFAULT_OUT,
    config_file: Annotated[Path, typer.Option("--config", help="TOML file")] = DEFAULT_CONFIG,
) -> None:
    """Export the model; the folder always holds whole files, so others may load it meanwhile."""
    config = load_config(config_file)
    with placed(out, LIMIT_MB) as folder:
        facts = build(work, config, config_file, folder)
        write_json(work / FACTS, facts)
        write_json(folder / TRAINING, {"version": config.version, **facts})
        styles: list[dict[str, Any]] = [
            {"name": n, "prompt": s.prompt, "synonyms": list(s.synonyms)} for n, s in config.styles().items()
        ]
        moods = [{"name": m.name, "prompt": m.name, "synonyms": list(m.synonyms)} for m in MOODS.values()]
        write_json(folder / "styles.json", {"version": config.version, "styles": styles, "moods": moods})
        write_json(folder / "checksums.json", {"version": config.version, "sha256": checksums(folder)})
        write_card(work, config, data, folder)
    difference = facts["vae_difference"]
    print(f"wrote {out}: {facts['size_mb']:.1f} MB, {facts['pairs']} pairs, autoencoder difference {difference:.1e}")


if __name__ == "__main__":
    typer.run(main)
