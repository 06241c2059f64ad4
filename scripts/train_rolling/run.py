"""A model and its optimizer going through a budget of time, resumable."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.progress import Progress
from safetensors.torch import load_file
from torch import nn

from scripts.train_tiny.loop import (
    Clock,
    Ema,
    FreeCores,
    copy_matching,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
)
from streamdiff.models.load import load_model
from streamdiff.rolling.on_pictures import FACTS
from streamdiff.rolling.transformer import RollingTransformer

from .card import TRAINING
from .config import Config

Work = Annotated[Path, typer.Option(help="folder for caches and checkpoints")]
PictureWork = Annotated[Path, typer.Option("--pictures", help="work folder of train_tiny, with its cached pictures")]
ConfigFile = Annotated[Path, typer.Option("--config", help="TOML file")]
Minutes = Annotated[float | None, typer.Option(help="budget of active training, instead of the config's")]
PauseFile = Annotated[Path | None, typer.Option(help="pause while this file exists")]
StartFrom = Annotated[
    Path | None, typer.Option(help="checkpoint, or exported model, whose averages a new run begins with")
]

LOG_SECONDS, SAVE_SECONDS = 30, 180


def build(config: Config) -> tuple[nn.Module, RollingTransformer]:
    """The transformer in training: diffusers' module, and the package's around it. It begins with the identity."""
    wan = config.model.build(load_model(config.pictures))
    for parameter in wan.proj_out.parameters():
        nn.init.zeros_(parameter)
    rolling = RollingTransformer(wan)
    wan.requires_grad_(True)
    return wan, rolling


def entry(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A training as a line of another's history."""
    return {"steps": checkpoint["step"], **{name: checkpoint[name] for name in ("stage", "frames", "seconds")}}


def given_to(config: Config) -> dict[str, Any]:
    """What says which latents a model is given to change."""
    return {"paint": list(config.model.paint), "calm": config.model.calm}


def given_by(facts: dict[str, Any]) -> dict[str, Any]:
    """The same of a checkpoint, or of an exported model's facts; the earliest do not say it."""
    return {"paint": list(facts.get("paint", [])), "calm": facts.get("calm", 0.0)}


def check_given(checkpoint: dict[str, Any], config: Config, path: Path) -> None:
    """Make sure that a checkpoint was given what a configuration says.

    Raises:
        typer.BadParameter: it was not.
    """
    had, has = given_by(checkpoint), given_to(config)
    if had != has:
        raise typer.BadParameter(
            f"{path} was trained with paint = {had['paint']} and calm = {had['calm']}, the config has {has['paint']} "
            f"and {has['calm']}; begin in a work folder without {path.name}, with --start-from {path}"
        )


class Run:
    """One training; iterate over it, and call ``step`` with the gradients in place.

    Attributes:
        device: where the model lies.
        steps, frames: so far.
        history: what was trained before, one entry for each training: stage, steps, frames, seconds.
    """

    def __init__(
        self, model: nn.Module, config: Config, checkpoint: Path, minutes: float | None = None,
        pause_file: Path | None = None, start_from: Path | None = None,
    ) -> None:  # fmt: skip
        """Go on from the checkpoint, if it is there; else begin with another's averages, if one is given.

        Raises:
            typer.BadParameter: `start_from` is not there, or the checkpoint was given other latents to change.
        """
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model, self.config, self.checkpoint = model.to(self.device), config.train, checkpoint
        self._given, self._version = given_to(config), config.version
        decayed = [p for p in model.parameters() if p.ndim > 1]
        plain = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(
            groups, lr=self.config.lr, betas=(0.9, 0.98), fused=self.device.type in ("cpu", "cuda")
        )
        self.steps, self.frames, spent = 0, 0, 0.0
        state = load_checkpoint(checkpoint)
        if state is not None:
            check_given(state, config, checkpoint)
            model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.steps, self.frames, spent = int(state["step"]), int(state["frames"]), float(state["seconds"])
            self.history = list(state["history"])
        else:
            self.history = [] if start_from is None else self._take_over(start_from)
        self._ema = Ema(model, self.config.ema)
        if state is not None:
            self._ema.load_state_dict(state["ema"])
        self._budget = minutes or self.config.minutes, spent, pause_file
        self._loss, self._since = 0.0, (self.steps, self.frames)

    def _take_over(self, path: Path) -> list[dict[str, Any]]:
        """Begin with another training's averages, or an exported model; returns its history, itself included.

        One that was given other latents to change has learned another change: its last layer is left out, so that this
        model begins with the identity.
        """
        if path.is_dir():
            weights = load_file(path / "transformer" / "diffusion_pytorch_model.safetensors")
            history = json.loads((path / TRAINING).read_text(encoding="utf-8"))["trainings"]
            given = given_by(json.loads((path / FACTS).read_text(encoding="utf-8")))
        else:
            earlier = load_checkpoint(path)
            if earlier is None:
                raise typer.BadParameter(f"no checkpoint {path}")
            weights, history = earlier["ema"]["average"], [*earlier["history"], entry(earlier)]
            given = given_by(earlier)
        taken = {n: w.float() for n, w in weights.items() if given == self._given or not n.startswith("proj_out")}
        print(f"{copy_matching(taken, self.model)} parameters from {path}")
        return list(history)

    def __iter__(self) -> Iterator[float]:
        """The share of the budget that is spent, before each step; saves and tells now and then, and at the end."""
        self.clock = Clock(*self._budget)  # what was made ready since counts for nothing
        cores = FreeCores()
        saved = told = time.monotonic()
        with Progress() as bar:
            task = bar.add_task(self.checkpoint.stem, total=1.0)
            while self.clock.progress() < 1:
                self.clock.wait_if_paused()
                if self.device.type == "cpu":
                    cores.adapt()
                self._optimizer.zero_grad(set_to_none=True)
                yield self.clock.progress()
                now = time.monotonic()
                if now - told > LOG_SECONDS:
                    bar.update(task, completed=self.clock.progress())
                    bar.console.print(self._line(now - told))
                    self._loss, self._since, told = 0.0, (self.steps, self.frames), now
                if now - saved > SAVE_SECONDS:
                    self._save()
                    saved = time.monotonic()
        self._save()
        print(f"{self.frames} frames in {self.clock.seconds() / 60:.1f} minutes of training")

    def step(self, loss: float, frames: int) -> None:
        """Move the weights along their gradients.

        Args:
            loss: to tell.
            frames: that it was made of.

        Raises:
            RuntimeError: a gradient is not finite.
        """
        rate = learning_rate(self.config.lr, self.steps, self.config.warmup_steps, self.clock.progress())
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        if not math.isfinite(float(norm)):
            raise RuntimeError(f"the gradient is not finite at step {self.steps}")
        self._optimizer.step()
        self._ema.update(self.model)
        self.steps, self.frames, self._loss = self.steps + 1, self.frames + frames, self._loss + loss

    def _line(self, seconds: float) -> str:
        steps, frames = self.steps - self._since[0], self.frames - self._since[1]
        return (
            f"step {self.steps} loss {self._loss / max(steps, 1):.4f} frames {self.frames} {frames / seconds:.1f} "
            f"frames/s {self.clock.seconds() / 60:.1f} min"
        )

    def _save(self) -> None:
        states = {"model": self.model.state_dict(), "optimizer": self._optimizer.state_dict()}
        figures = {"step": self.steps, "seconds": self.clock.seconds(), "frames": self.frames, "version": self._version}
        figures |= {"stage": self.checkpoint.stem, **self._given}
        save_checkpoint(self.checkpoint, {**states, "ema": self._ema.state_dict(), **figures, "history": self.history})
