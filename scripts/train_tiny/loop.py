"""What both training loops share: the clock, the pause file, averaging, and checkpoints."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class Clock:
    """Active training time against a budget; time spent paused counts for nothing."""

    def __init__(self, minutes: float, spent: float = 0.0, pause_file: Path | None = None) -> None:
        """`minutes` is the whole budget, `spent` the seconds that earlier runs of it took."""
        self.budget = minutes * 60
        self.pause_file = pause_file
        self._start = time.monotonic() - spent

    def seconds(self) -> float:
        """Active seconds so far, earlier runs included."""
        return time.monotonic() - self._start

    def progress(self) -> float:
        """Share of the budget spent, 0..1."""
        return min(1.0, self.seconds() / self.budget)

    def wait_if_paused(self) -> None:
        """Sleep while the pause file exists."""
        while self.pause_file is not None and self.pause_file.exists():
            before = time.monotonic()
            time.sleep(1.0)
            self._start += time.monotonic() - before


def learning_rate(base: float, step: int, warmup: int, progress: float) -> float:
    """Linear warm-up in steps, then a cosine over the budget down to 2% of `base`."""
    cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return base * min(1.0, (step + 1) / max(1, warmup)) * cosine


class Ema:
    """Exponential moving average of a module's parameters, with a warm-up so that early averages are useful."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.average = {n: p.detach().float().clone() for n, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the parameters' values after one step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        names = [n for n, _ in module.named_parameters()]
        averages: list[Tensor] = [self.average[n] for n in names]
        torch._foreach_lerp_(averages, [p.detach().float() for p in module.parameters()], 1 - decay)

    def copy_to(self, module: nn.Module) -> None:
        """Write the average into a module of the same shape."""
        module.load_state_dict({**module.state_dict(), **self.average})

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"steps": self.steps, "average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.steps = int(state["steps"])
        for name, value in state["average"].items():
            self.average[name].copy_(value)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that an interruption leaves the old one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint, or None when there is none."""
    if not path.exists():
        return None
    return dict(torch.load(path, map_location="cpu", weights_only=True))
