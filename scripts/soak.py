"""An hour's worth of frames with everything going wrong that can: python -m scripts.soak

Sources stall, break off and end up elsewhere, sinks die, block and come back, settings change at random, all from one
seed. It ends with a line of figures in JSON, and with exit code 1 where a frame is unaccounted for, memory has grown
by more than 30 MB, or the run ended early.
"""

from __future__ import annotations

import json
import threading
import time
from random import Random
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from rich.progress import Progress

from apps.live import intake, outlet
from apps.live.show import Show
from apps.loading import Choice, open_stream
from apps.sinks.sink import Picture
from apps.sources.source import Sound
from streamdiff.errors import ConfigError, DeviceError
from streamdiff.frame import Frame

GROWTH_MB = 30.0
TELL = 30.0
"""Seconds between two lines of how far it is."""

FIXED = 24
"""Pictures made beforehand: the source is to cost nothing."""


class Troubled:
    """Counts what is left to give, and when the next fault comes."""

    def __init__(self, frames: int, every: int, seed: int) -> None:
        self.frames, self.every = frames, every
        self.random = Random(seed)
        self.given = 0
        self.faults: dict[str, int] = {}
        noise = np.random.default_rng(seed)
        self.pictures = [noise.integers(0, 256, (96, 128, 3), np.uint8) for _ in range(FIXED)]

    def fault(self, *kinds: str) -> str | None:
        """A fault now and then."""
        if self.random.random() * self.every > 1:
            return None
        kind = self.random.choice(kinds)
        self.faults[kind] = self.faults.get(kind, 0) + 1
        return kind


class Source:
    """Gives frames as fast as they are taken; see ``apps.sources.source.Source``."""

    name, width, height, rate, has_sound, waits = "soak", 128, 96, 30.0, False, True

    def __init__(self, troubled: Troubled) -> None:
        if troubled.fault("source cannot be opened") and troubled.given:
            raise DeviceError("soak: not there")
        self._troubled, self._own = troubled, 0
        self._closed = threading.Event()

    def read(self) -> Frame | Sound | None:
        """The next."""
        t = self._troubled
        if t.given >= t.frames or self._closed.is_set():
            return None
        match t.fault("source lost", "source stalls", "source raises", "source hangs"):
            case "source lost":
                raise DeviceError("soak: unplugged")
            case "source raises":
                raise RuntimeError("a driver's fault")
            case "source stalls":
                self._closed.wait(t.random.uniform(0.05, 0.5))
            case "source hangs":
                self._closed.wait()
                return None
            case _:
                pass
        t.given += 1
        self._own += 1
        # Each twice: half of them are what the similarity filter is for.
        return Frame(t.pictures[t.given // 2 % FIXED], pts=self._own / 30, captured=time.monotonic())

    def close(self) -> None:
        """End a read that hangs."""
        self._closed.set()


class Sink:
    """Takes frames, mostly; see ``apps.sinks.sink.Sink``."""

    takes_sound = False

    def __init__(self, troubled: Troubled, picture: Picture, number: int) -> None:
        if troubled.fault("sink cannot be opened") and troubled.given:
            raise DeviceError(f"sink {number}: not there")
        self.name, self.width, self.height = f"sink {number}", picture.width, picture.height
        self._troubled = troubled

    def write(self, frame: Frame) -> None:
        """Take one."""
        match self._troubled.fault("sink dies", "sink blocks", "sink raises"):
            case "sink dies":
                raise DeviceError(f"{self.name}: hung up")
            case "sink raises":
                raise RuntimeError("a library's fault")
            case "sink blocks":
                time.sleep(self._troubled.random.uniform(0.05, 1.5))
            case _:
                pass

    def write_sound(self, sound: Sound) -> None:
        """None comes."""

    def close(self) -> None:
        """Now and then that fails, too."""
        if self._troubled.fault("sink does not close"):
            raise DeviceError(f"{self.name}: could not be completed")


def random_settings(random: Random, styles: tuple[str, ...]) -> dict[str, Any]:
    """Any change that a user might make, now and then one that cannot be."""
    return random.choice(
        (
            {"prompt": random.choice(styles)},
            {"prompt": random.choice(styles), "second_prompt": random.choice(styles), "blend": random.random()},
            {"second_prompt": "", "blend": 0.0},
            {"strength": random.uniform(0.1, 1.0)},
            {"steps": random.choice((1, 1, 1, 2))},
            {"seed": random.randrange(1000)},
            {"guidance": "self", "guidance_scale": 1.4, "negative_prompt": random.choice(styles)},
            {"guidance": "none", "guidance_scale": 1.0},
            {"similarity_threshold": random.choice((None, 0.98))},
            {"width": random.choice((64, 96))} if random.random() < 0.2 else {"seed": random.randrange(1000)},
            {"strength": 7.0},
        )
    )


def unaccounted(figures: dict[str, Any], given: int) -> dict[str, int]:
    """Frames that are neither delivered nor counted as lost, at every stage; all zero when all is well.

    A frame that was read when its source was given up is counted as read and goes no further.
    """
    model = figures["model"]
    found = {
        "between source and model": figures["source"]["read"] - model["frames_in"],
        "in the model": model["frames_in"]
        - sum(model[name] for name in ("frames_out", "dropped_in", "dropped_out", "failed")),
        "never read": given - figures["source"]["read"],
    }
    for sink in figures["sinks"]:
        arrived = sink["delivered"] + sink["overtaken"] + sink["lost"]
        found[f"before {sink['name']}"] = model["frames_out"] - arrived
    return found


def main(
    frames: Annotated[int, typer.Option(min=100, help="how many")] = 108_000,
    every: Annotated[int, typer.Option(min=2, help="frames between two faults, on average")] = 1500,
    seed: Annotated[int, typer.Option(help="of everything random")] = 0,
    size: Annotated[int, typer.Option(help="side of the pictures")] = 64,
) -> None:
    """Run it."""
    intake.STALLED, intake.ABANDONED, outlet.STALLED = 0.3, 1.0, 0.5  # patience of an hour's run, in minutes
    troubled = Troubled(frames, every, seed)
    stream = open_stream(Choice(settings={"width": size, "height": size, "prompt": "pencil sketch"}))
    memory: list[tuple[int, float]] = []
    process = psutil.Process()
    changes = refused = 0
    with stream, Progress() as bar:
        styles = tuple(style.prompt for style in stream.model.styles)
        sinks = [lambda picture, n=n: Sink(troubled, picture, n) for n in (1, 2)]
        show = Show(stream, lambda: Source(troubled), sinks)
        began = told = time.monotonic()
        task = bar.add_task("frames", total=frames)
        show.start()
        random = Random(seed + 1)
        while not show.wait(0.5):
            bar.update(task, completed=troubled.given)
            memory.append((troubled.given, process.memory_info().rss / 2**20))
            if time.monotonic() - told > TELL:
                told = time.monotonic()
                bar.console.print(f"{troubled.given} frames, {memory[-1][1]:.0f} MB, {told - began:.0f} s")
            try:
                show.update(random_settings(random, styles))
                changes += 1
            except ConfigError:
                refused += 1
        show.join()
        seconds = time.monotonic() - began
        figures = show.figures()
    # What the caches of the first fifth hold is no leak.
    early = [mb for given, mb in memory if frames * 0.2 <= given <= frames * 0.3] or [memory[0][1]]
    late = [mb for given, mb in memory if given >= frames * 0.9] or [memory[-1][1]]
    growth = float(np.median(late) - np.median(early))
    missing = {name: count for name, count in unaccounted(figures, troubled.given).items() if count}
    result = {
        "frames": troubled.given, "seconds": round(seconds, 1), "fps": round(troubled.given / seconds, 1),
        "changes": changes, "refused": refused, "faults": dict(sorted(troubled.faults.items())),
        "source_reopened": figures["source"]["reopened"], "model": figures["model"],
        "sinks": [{k: s[k] for k in ("delivered", "overtaken", "lost", "reopened")} for s in figures["sinks"]],
        "unaccounted": missing, "memory_growth_mb": round(growth, 1), "threads": threading.active_count(),
    }  # fmt: skip
    print(json.dumps(result))
    if missing or growth > GROWTH_MB or troubled.given < frames:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
