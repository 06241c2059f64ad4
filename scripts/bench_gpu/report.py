"""The report: what was measured, what could not be and why, and whether the goals are reached; kept as it grows."""

from __future__ import annotations

import gc
import json
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from apps import machine
from engines import EngineError
from scripts.bench_gpu.card import NotMeasured, device_name

GOALS: tuple[tuple[str, float, tuple[str, ...]], ...] = (
    ("sd-turbo, 1 step, frames per second", 150, ("steps", "1", "fps")),
    ("sd-turbo, 1 step, times as fast as diffusers' pipeline", 10, ("diffusers", "1", "ratio")),
    ("sd-turbo, 4 steps, Stream Batch, times as fast as sequential", 1.5, ("sequential", "4", "stream_batch_ratio")),
    ("sd-turbo, 4 steps, self-negative guidance, times as fast as full", 1.8, ("guidance", "self", "times_full")),
)
"""Of the compiled engine on an H100-class card at 512x512: what it is called, the least, and where it stands."""


class Report:
    """Plain numbers and texts, written after each thing measured: an hour's work is not lost with its last minute."""

    def __init__(self, device: torch.device, path: Path | None, toy: bool) -> None:
        """Begin.

        Args:
            device: that is measured.
            path: the file; None keeps none.
            toy: nothing but a trial of this program.
        """
        self.path = path
        self.data: dict[str, Any] = {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "device": device_name(device),
            "toy": toy,
            "machine": _machine(device),
            "models": {},
            "goals": [],
            "not_measured": [],
        }

    @contextmanager
    def part(self, what: str) -> Generator[None]:
        """For one thing that is measured: what keeps it from being is written down, and the others go on."""
        print(what, flush=True)
        try:
            yield
        except (NotMeasured, EngineError, torch.OutOfMemoryError) as error:
            self.not_measured(what, _first_line(error))
        except (RuntimeError, ValueError, OSError) as error:
            # Of a package's own: all that is measured after it is not to be lost with it.
            self.not_measured(what, f"{type(error).__name__}: {_first_line(error)}")
        finally:
            self.write()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def not_measured(self, what: str, why: str) -> None:
        """Write down what is missing."""
        print(f"  not measured: {why}", flush=True)
        self.data["not_measured"].append({"what": what, "why": why})

    def judge(self) -> None:
        """Compare with the goals; those whose number is missing are neither met nor missed."""
        measured = self.data["models"].get("sd-turbo", {}).get("engines", {}).get("cuda", {})
        for name, least, place in GOALS:
            got: Any = measured
            for key in place:
                got = got.get(key) if isinstance(got, dict) else None
            self.data["goals"].append(
                {"goal": name, "least": least, "got": got, "met": None if got is None else got >= least}
            )
        self.write()

    def write(self) -> None:
        """Keep it, whole or not at all."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(self.path.name + ".part")
        part.write_text(json.dumps(self.data, indent=1) + "\n", encoding="utf-8")
        part.replace(self.path)


def _machine(device: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {
        "cpu": machine.cpu_name(),
        "cores": machine.cores(),
        "memory_gb": round(machine.memory_gb(), 1),
        "system": machine.system(),
        "cuda": torch.version.cuda,
        "versions": machine.versions(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found["capability"] = f"{properties.major}.{properties.minor}"
        found["gpu_memory_gb"] = round(properties.total_memory / 1e9, 1)
    return found


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["no reason given"])[0]
