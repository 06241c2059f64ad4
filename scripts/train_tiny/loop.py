"""What both training loops share: the clock, the pause file, averaging, and checkpoints."""

from __future__ import annotations

import math
import os
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


def mixed_precision(device: torch.device) -> torch.autocast:
    """bf16 where the device computes in it: on a CPU that has to imitate it, it was twelve times slower than fp32."""
    able = device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


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


def copy_matching(values: dict[str, Tensor], module: nn.Module) -> int:
    """Copy the parameters that have a namesake of the same shape in `values`; returns their number.

    So a new run can begin with another architecture's weights, as far as they go.
    """
    state = module.state_dict()
    fitting = {n: v for n, v in values.items() if n in state and state[n].shape == v.shape}
    module.load_state_dict({**state, **fitting})
    return len(fitting)


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


class FreeCores:
    """Keeps the number of compute threads at the cores that nobody else uses (Linux; elsewhere it does nothing).

    Two threads that wait for one another on a core that is taken are far slower than one thread.
    """

    STAT = Path("/proc/stat")

    def __init__(self, every: float = 4.0) -> None:
        self.every = every
        self.cores = os.cpu_count() or 1
        self._last = self._read()

    def _read(self) -> tuple[float, float, float]:
        """Now, busy seconds of the whole machine, and of this process."""
        if not self.STAT.exists():
            return time.monotonic(), 0.0, 0.0
        user, nice, system, _idle, _wait, irq, softirq, steal = map(float, self.STAT.read_text().split()[1:9])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        own = os.times()
        return time.monotonic(), busy, own.user + own.system

    def adapt(self) -> None:
        """Look again if it is time, and set the number of threads."""
        now, busy, own = self._read()
        seconds = now - self._last[0]
        if seconds < self.every or not self.STAT.exists():
            return
        others = (busy - self._last[1] - (own - self._last[2])) / seconds
        self._last = (now, busy, own)
        torch.set_num_threads(max(1, int(self.cores - others + 0.4)))
