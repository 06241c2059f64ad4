"""Stage 2: train the autoencoder on random crops of photographs and stylised pictures."""

from __future__ import annotations

import math
import time
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from rich.progress import Progress
from torch import Tensor

from .config import DEFAULT_CONFIG, DEFAULT_WORK, VaeConfig, load_config
from .data import CELL, PHOTO, Cache, Pictures, coarse
from .loop import Clock, Ema, FreeCores, learning_rate, load_checkpoint, mixed_precision, save_checkpoint
from .metrics import box_ssim, psnr, ssim
from .vae import FoldedVae

CHECKPOINT = "vae.pt"


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


class Refine(str, Enum):
    """What of a finished checkpoint is trained on."""

    no = "no"
    decoder = "decoder"
    all = "all"


class CropSampler:
    """Random crops from the cache; layers that another process is still filling are used as far as they are done."""

    def __init__(self, cache: Cache, config: VaeConfig, rng: np.random.Generator) -> None:
        self.cache, self.config, self.rng = cache, config, rng
        self.train = set(cache.rows(held_out=False).tolist())
        screens = [name for name, style in cache.styles.items() if style.screen]
        self.screens = {*screens, *(coarse(name) for name in screens)}
        self.arrays: dict[str, Pictures] = {}
        self.items: dict[str, list[tuple[int, int]]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look again at what is in the cache."""
        for layer in self.cache.layers():
            if layer not in self.arrays:
                self.arrays[layer] = self.cache.open(layer)
            done = self.cache.done(layer)
            items = [(r, k) for k, rows in enumerate(done) for r in range(rows) if r in self.train]
            if items:
                self.items[layer] = items

    def batch(self) -> Tensor:
        """[batch, 3, crop, crop] float32 in -1..1: crops at random places and scales, flipped half of the time.

        Screens stay as they are: on the latent grid.
        """
        side, rng = self.config.crop, self.rng
        styles = [layer for layer in self.items if layer != PHOTO]
        out = torch.empty(self.config.batch, 3, side, side)
        for i in range(self.config.batch):
            use_photo = not styles or rng.random() < self.config.photo_share
            layer = PHOTO if use_photo else styles[int(rng.integers(len(styles)))]
            row, k = self.items[layer][int(rng.integers(len(self.items[layer])))]
            source = self.arrays[layer][row, k]
            screen = layer in self.screens
            grid = CELL if screen else 1
            scale = 1 if screen or rng.random() < 0.7 else float(rng.uniform(1.0, 1.9))
            want = min(source.shape[0], round(side * scale))
            y, x = (int(v) * grid for v in rng.integers(0, (source.shape[0] - want) // grid + 1, 2))
            picture = torch.from_numpy(np.ascontiguousarray(source[y : y + want, x : x + want]))
            tensor = picture.permute(2, 0, 1)[None].float() / 127.5 - 1
            if want != side:
                tensor = F.interpolate(tensor, (side, side), mode="bilinear", antialias=True, align_corners=False)
            if not screen and rng.random() < 0.5:
                tensor = tensor.flip(3)
            out[i] = tensor[0]
        return out


def gradient_loss(a: Tensor, b: Tensor, scales: int = 3) -> Tensor:
    """L1 distance of the pictures' gradients at several scales: it punishes blur where plain L1 forgives it."""
    total = a.new_zeros(())
    for scale in range(scales):
        d = a - b
        total = total + (d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()
        if scale < scales - 1:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return total / scales


def latent_penalty(latent: Tensor) -> Tensor:
    """How far the channels' means and standard deviations over the batch are from 0 and 1."""
    mean = latent.mean((0, 2, 3))
    std = latent.std((0, 2, 3))
    return (mean.square() + (std + 1e-6).log().square()).mean()


@torch.no_grad()
def measure(vae: FoldedVae, cache: Cache, device: torch.device, layers: list[str], limit: int = 48) -> dict[str, Any]:
    """PSNR in dB and SSIM at full crop size on held-out pictures, per layer."""
    vae.eval()
    result: dict[str, Any] = {}
    for layer in layers:
        done = cache.done(layer)[0]
        rows = [int(r) for r in cache.rows(held_out=True) if r < done][:limit]
        array = cache.open(layer)
        scores: list[tuple[float, float]] = []
        for start in range(0, len(rows), 8):
            pictures = torch.from_numpy(array[rows[start : start + 8], 0]).permute(0, 3, 1, 2).float() / 127.5 - 1
            output = vae.decode(vae.encode(pictures.to(device))).clamp(-1, 1).cpu()
            scores += [(psnr(a, b), ssim(a, b)) for a, b in zip(output, pictures, strict=True)]
        if scores:
            result[layer] = [round(float(v), 4) for v in np.mean(scores, 0)]
    vae.train()
    return result


def main(
    work: Annotated[Path, typer.Option(help="folder for caches and checkpoints")] = DEFAULT_WORK,
    config_file: Annotated[Path, typer.Option("--config", help="TOML file")] = DEFAULT_CONFIG,
    minutes: Annotated[float | None, typer.Option(help="budget of active training, instead of the config's")] = None,
    pause_file: Annotated[Path | None, typer.Option(help="pause while this file exists")] = None,
    fresh: Annotated[bool, typer.Option(help="start anew instead of from the last checkpoint")] = False,
    refine: Annotated[Refine, typer.Option(help="train a finished checkpoint on, for --minutes more")] = Refine.no,
) -> None:
    """Train the autoencoder; continues from the last checkpoint in the work folder.

    With --refine decoder the encoder stays as it is, so that a denoiser made with it keeps its meaning.
    """
    config = load_config(config_file)
    c, device = config.vae, config.torch_device()
    torch.manual_seed(config.seed)
    vae = FoldedVae(c).to(device, memory_format=torch.channels_last)
    ema = Ema(vae, c.ema)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=c.lr, weight_decay=1e-4, betas=(0.9, 0.99))
    step, spent = 0, 0.0
    state = None if fresh else load_checkpoint(work / CHECKPOINT)
    if state is not None:
        vae.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        if state["optimizer"] is not None:
            optimizer.load_state_dict(state["optimizer"])
        step, spent = int(state["step"]), float(state["seconds"])
    before = 0.0
    if refine is not Refine.no:
        if state is None:
            raise typer.BadParameter("--refine needs a checkpoint")
        ema.copy_to(vae)
        vae.encoder.requires_grad_(refine is Refine.all)
        ema = Ema(vae, c.ema)
        trained = [p for p in vae.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=c.lr, weight_decay=1e-4, betas=(0.9, 0.99))
        before, spent, step = spent, 0.0, 0
    cache = Cache(work, config)
    sampler = CropSampler(cache, c, np.random.default_rng(config.seed + step))
    clock = Clock(minutes or c.minutes, spent, pause_file)

    def save(figures: dict[str, Any]) -> None:
        model, optim = vae.state_dict(), optimizer.state_dict() if refine is Refine.no else None
        common = {"step": step, "seconds": before + clock.seconds(), "figures": figures}
        save_checkpoint(work / CHECKPOINT, {"model": model, "ema": ema.state_dict(), "optimizer": optim, **common})

    averaged = FoldedVae(c).to(device)
    last_save = last_log = last_refresh = time.monotonic()
    running, since = 0.0, step
    cores = FreeCores()
    with Progress() as bar:
        task = bar.add_task("vae", total=1.0)
        while clock.progress() < 1:
            clock.wait_if_paused()
            if device.type == "cpu":
                cores.adapt()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(c.lr, step, c.warmup_steps, clock.progress())
            picture = sampler.batch().to(device, memory_format=torch.channels_last)
            with mixed_precision(device):
                latent = vae.encode(picture)
                noise = torch.randn_like(latent) * c.latent_noise * float(np.random.rand() < 0.7)
                output = vae.decode(latent + noise)
            output, latent = output.float(), latent.float()
            l1 = (output - picture).abs().mean()
            mse = (output - picture).square().mean()
            similar = 1 - box_ssim(output, picture)
            loss = l1 + 0.5 * gradient_loss(output, picture) + mse + c.ssim_weight * similar
            loss = loss + 0.02 * latent_penalty(latent)
            if not math.isfinite(loss.item()):
                raise RuntimeError(f"the loss is not finite at step {step}")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
            optimizer.step()
            ema.update(vae)
            step += 1
            running += l1.item()
            now = time.monotonic()
            if now - last_refresh > 45:
                sampler.refresh()
                last_refresh = now
            if now - last_log > 20:
                bar.update(task, completed=clock.progress())
                std = latent.std((0, 2, 3))
                bar.console.print(
                    f"step {step} l1 {running / (step - since):.4f} std {std.min():.2f}..{std.max():.2f} "
                    f"{(step - since) * c.batch / (now - last_log):.0f} crops/s {clock.seconds() / 60:.1f} min"
                )
                last_log, running, since = now, 0.0, step
            if now - last_save > 180:
                ema.copy_to(averaged)
                figures = measure(averaged, cache, device, [PHOTO], 24)
                bar.console.print(f"held out (PSNR, SSIM): {figures}")
                save(figures)
                last_save = time.monotonic()
    ema.copy_to(averaged)
    figures = measure(averaged, cache, device, [n for n in cache.layers() if n in cache.styles])
    save(figures)
    print(f"held out (PSNR, SSIM): {figures}")


if __name__ == "__main__":
    typer.run(main)
