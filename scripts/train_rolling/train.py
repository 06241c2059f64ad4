"""Train the rolling transformer on episodes, by running its window over them."""

from __future__ import annotations

import math
import time
from itertools import chain
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from rich.progress import Progress
from torch import Tensor, nn

from scripts.train_tiny.config import load_config as load_picture_config
from scripts.train_tiny.data import Cache
from scripts.train_tiny.loop import (
    Clock,
    Ema,
    FreeCores,
    copy_matching,
    learning_rate,
    load_checkpoint,
    mixed_precision,
    save_checkpoint,
)
from scripts.train_tiny.train_vae import gradient_loss
from streamdiff.models.load import load_model
from streamdiff.rolling.transformer import RollingTransformer

from .clips import Clips
from .config import DEFAULT_CONFIG, DEFAULT_PICTURES, DEFAULT_WORK, Config, TrainConfig, load_config
from .episodes import EpisodeMaker, Latents
from .rollout import Predicted, Rollout

CHECKPOINT = "rolling.pt"


def latent_loss(predicted: Predicted, motion_weight: float) -> Tensor:
    """Half absolute, half squared distance of the latents, and of their change from frame to frame."""
    d = predicted.clean - predicted.answer
    still = 0.5 * d.abs().mean() + 0.5 * d.square().mean()
    moved = d[1:] - d[:-1]
    return still + motion_weight * (0.5 * moved.abs().mean() + 0.5 * moved.square().mean())


def pixel_loss(predicted: Predicted, latents: Latents, frame: int) -> Tensor:
    """L1 and gradient distance of one decoded frame."""
    one = slice(frame, frame + 1)
    with torch.no_grad():
        wanted = latents.decode(predicted.answer[one])
    got = latents.decode(predicted.clean[one])
    return F.l1_loss(got, wanted) + gradient_loss(got, wanted)


def own_share(config: TrainConfig, progress: float) -> float:
    """How often the model's own predictions go on, rising along a straight line."""
    return min(1.0, config.own_from + (1 - config.own_from) * progress / config.own_full)


def build(config: Config, pictures: str) -> tuple[nn.Module, RollingTransformer]:
    """The transformer in training: diffusers' module, and the package's around it."""
    wan = config.model.build(load_model(pictures))
    nn.init.zeros_(wan.proj_out.weight)
    rolling = RollingTransformer(wan)
    wan.requires_grad_(True)
    return wan, rolling


def main(
    work: Annotated[Path, typer.Option(help="folder for caches and checkpoints")] = DEFAULT_WORK,
    pictures: Annotated[Path, typer.Option(help="work folder of train_tiny, with its cached pictures")] = (
        DEFAULT_PICTURES
    ),
    config_file: Annotated[Path, typer.Option("--config", help="TOML file")] = DEFAULT_CONFIG,
    minutes: Annotated[float | None, typer.Option(help="budget of active training, instead of the config's")] = None,
    pause_file: Annotated[Path | None, typer.Option(help="pause while this file exists")] = None,
    start_from: Annotated[Path | None, typer.Option(help="checkpoint whose averages a new run begins with")] = None,
) -> None:
    """Train; continues from the last checkpoint in the work folder."""
    config = load_config(config_file)
    c = config.train
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.seed)
    model, rolling = build(config, config.pictures)
    model.to(device)
    ema = Ema(model, c.ema)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": c.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=c.lr, betas=(0.9, 0.98), fused=device.type in ("cpu", "cuda"))
    step, spent, frames = 0, 0.0, 0
    earlier = None if start_from is None else load_checkpoint(start_from)
    if earlier is not None:
        print(f"{copy_matching(earlier['ema']['average'], model)} of {len(ema.average)} parameters from {start_from}")
        ema = Ema(model, c.ema)
    elif start_from is not None:
        raise typer.BadParameter(f"no checkpoint {start_from}")
    state = load_checkpoint(work / CHECKPOINT)
    if state is not None:
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent, frames = int(state["step"]), float(state["seconds"]), int(state["frames"])
    torch.manual_seed(config.seed + step)
    latents = Latents(load_model(config.pictures), device)
    clips = Clips(work, config.clips)
    maker = EpisodeMaker(Cache(pictures, load_picture_config()), clips, config, latents, config.seed + step)
    print(f"{len(maker.items)} pictures, {len(clips)} segments of clips in {len(clips.arrays)} styles")
    clock = Clock(minutes or c.minutes, spent, pause_file)

    def save() -> None:
        states = {"model": model.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict()}
        figures = {"step": step, "seconds": clock.seconds(), "frames": frames, "version": config.version}
        save_checkpoint(work / CHECKPOINT, {**states, **figures})

    rollouts: list[Rollout] = []
    last_save = last_log = time.monotonic()
    running, since, since_frames = 0.0, step, frames
    cores = FreeCores()
    with Progress() as bar:
        task = bar.add_task("rolling", total=1.0)
        while clock.progress() < 1:
            clock.wait_if_paused()
            if device.type == "cpu":
                cores.adapt()
            progress = clock.progress()
            rate = learning_rate(c.lr, step, c.warmup_steps, progress)
            for group in optimizer.param_groups:
                group["lr"] = rate
            rollouts = [rollout for rollout in rollouts if not rollout.over]
            while len(rollouts) < c.streams:
                rollouts.append(Rollout(rolling, config.model, maker.make(), maker.random.randrange(2**31)))
            optimizer.zero_grad(set_to_none=True)
            for rollout in rollouts:
                with mixed_precision(device):
                    predicted = rollout.step(own_share(c, progress))
                    loss = latent_loss(predicted, c.motion_weight)
                    running += loss.item() / c.streams
                    if progress >= c.pixel_from:
                        frame = maker.random.randrange(len(predicted.clean))
                        loss = loss + c.pixel_weight * pixel_loss(predicted, latents, frame)
                (loss * rollout.episode.weight / c.streams).backward()
                frames += len(predicted.clean)
            norm = nn.utils.clip_grad_norm_(chain(decayed, plain), c.grad_clip)
            if not math.isfinite(float(norm)):
                raise RuntimeError(f"the gradient is not finite at step {step}")
            optimizer.step()
            ema.update(model)
            step += 1
            now = time.monotonic()
            if now - last_log > 30:
                bar.update(task, completed=clock.progress())
                bar.console.print(
                    f"step {step} loss {running / (step - since):.4f} lr {rate:.2e} frames {frames} "
                    f"{(frames - since_frames) / (now - last_log):.1f} frames/s {clock.seconds() / 60:.1f} min"
                )
                last_log, running, since, since_frames = now, 0.0, step, frames
            if now - last_save > 180:
                save()
                last_save = time.monotonic()
    save()
    print(f"{frames} frames in {clock.seconds() / 60:.1f} minutes of training")


if __name__ == "__main__":
    typer.run(main)
