"""Stage 3: encode the cached pictures to latents (resumable; the denoiser's training may start meanwhile)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import Progress

from .config import DEFAULT_CONFIG, DEFAULT_WORK, load_config
from .data import Cache
from .loop import Ema, load_checkpoint
from .train_vae import CHECKPOINT
from .vae import FoldedVae

CHUNK = 96  # photographs per round over all layers


def load_vae(work: Path, config_file: Path) -> FoldedVae:
    """The averaged autoencoder from the last checkpoint."""
    config = load_config(config_file)
    state = load_checkpoint(work / CHECKPOINT)
    if state is None:
        raise FileNotFoundError(f"no {CHECKPOINT} in {work}: run train_vae first")
    vae = FoldedVae(config.vae)
    ema = Ema(vae, config.vae.ema)
    ema.load_state_dict(state["ema"])
    ema.copy_to(vae)
    return vae.eval().requires_grad_(False)


def main(
    work: Annotated[Path, typer.Option(help="folder for caches and checkpoints")] = DEFAULT_WORK,
    config_file: Annotated[Path, typer.Option("--config", help="TOML file")] = DEFAULT_CONFIG,
    fresh: Annotated[bool, typer.Option(help="encode anew, after another training of the autoencoder")] = False,
    layer: Annotated[list[str] | None, typer.Option(help="only these layers")] = None,
) -> None:
    """Fill the cache of latents."""
    config = load_config(config_file)
    cache, device = Cache(work, config.data), config.torch_device()
    vae = load_vae(work, config_file).to(device, memory_format=torch.channels_last)
    side, count = config.data.size // 8, len(cache.photos())
    layers = layer or cache.layers("pictures")
    shape = (config.vae.latent_channels, side, side)
    latents = {n: cache.create("latents", n, shape, "float16") for n in layers}
    if fresh:
        for name in layers:
            cache.set_done("latents", name, [0] * config.data.crops)
    with Progress() as bar, torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
        task = bar.add_task("latents", total=count * config.data.crops * len(layers))
        for crop in range(config.data.crops):
            for start in range(0, count, CHUNK):
                for name in layers:
                    stop = min(start + CHUNK, cache.done("pictures", name)[crop])
                    done = cache.done("latents", name)
                    pictures = cache.open("pictures", name)
                    for row in range(max(start, done[crop]), stop, 16):
                        rows = slice(row, min(row + 16, stop))
                        batch = torch.from_numpy(np.array(pictures[rows, crop])).permute(0, 3, 1, 2)
                        batch = batch.to(device, memory_format=torch.channels_last).float() / 127.5 - 1
                        latents[name][rows, crop] = vae.encode(batch).float().cpu().numpy()
                    if stop > done[crop]:
                        done[crop] = stop
                        cache.set_done("latents", name, done)
                    bar.advance(task, max(0, stop - start))


if __name__ == "__main__":
    typer.run(main)
