"""The way back from export: checkpoints made of an exported model, so that anyone can train the package's model on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer
from diffusers import AutoencoderTiny, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel

from streamdiff.models.cell_phase import phase_size

from .card import TRAINING
from .config import DEFAULT_CONFIG, DEFAULT_OUT, DEFAULT_WORK, load_config
from .loop import Ema, save_checkpoint
from .train_vae import CHECKPOINT as VAE_CHECKPOINT
from .vae import FoldedVae, from_autoencoder_tiny

BEGIN = "begin.pt"


def averages(module: nn.Module, decay: float) -> dict[str, Any]:
    """An average's state that holds a module's own weights."""
    return Ema(module, decay).state_dict()


def main(
    model: Annotated[Path, typer.Option(help="the exported model's folder")] = DEFAULT_OUT,
    work: Annotated[Path, typer.Option(help="folder for caches and checkpoints")] = DEFAULT_WORK,
    config_file: Annotated[Path, typer.Option("--config", help="TOML file")] = DEFAULT_CONFIG,
) -> None:
    """Write vae.pt, begin.pt (for train_unet --start-from) and the tokenizer into a work folder without them."""
    config = load_config(config_file)
    taken = [name for name in (VAE_CHECKPOINT, BEGIN, "tokenizer") if (work / name).exists()]
    if taken:
        raise typer.BadParameter(f"{work} already holds {', '.join(taken)}: name another folder with --work")
    told = model / TRAINING
    facts: dict[str, Any] = json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}
    tiny = cast(AutoencoderTiny, AutoencoderTiny.from_pretrained(model, subfolder="vae", torch_dtype=torch.float32))
    if phase_size(tiny.config) != config.vae.cell_phase:
        print(
            f"the decoder was trained with cell_phase = {phase_size(tiny.config)} and is now to have "
            f"{config.vae.cell_phase}: run train_vae --refine decoder before anything else"
        )
    vae = FoldedVae(config.vae)
    from_autoencoder_tiny(tiny, vae)
    state = {"model": vae.state_dict(), "ema": averages(vae, config.vae.ema), "optimizer": None, "step": 0}
    seconds = 60 * float(facts.get("vae_minutes", 0))
    save_checkpoint(work / VAE_CHECKPOINT, {**state, "seconds": seconds, "figures": facts.get("vae_figures", {})})
    denoiser = nn.Module()  # the names that train_unet.Denoiser gives its parts
    denoiser.text = CLIPTextModel.from_pretrained(model / "text_encoder", dtype=torch.float32)
    denoiser.unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32)
    begun = {"pairs": int(facts.get("pairs", 0)), "version": str(facts.get("version", model.name))}
    save_checkpoint(work / BEGIN, {"ema": averages(denoiser, config.unet.ema), **begun})
    shutil.copytree(model / "tokenizer", work / "tokenizer")
    print(f"{begun['version']} is in {work}: go on with train_vae --refine, or train_unet --start-from {work / BEGIN}")


if __name__ == "__main__":
    typer.run(main)
