"""Source to virtual camera, as long as one likes: python -m scripts.measure_live --seconds 600

A clip in real time (or the test picture) goes through the embedded model into pyvirtualcam, with a stand-in for the
driver behind it. Prints one line of JSON: frames per second delivered, latency from source to the end of the sink's
write (p50, p95, and p50 of each part of the run, in ms), and what became of every frame.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import typer

from apps.live.show import Show
from apps.loading import Choice, open_run
from apps.run_config import Mode
from apps.sinks.sink import Picture
from apps.sinks.virtual_camera import VirtualCamera
from apps.sources.uri import source_from
from streamdiff.frame import Frame

WARM = 5.0
"""Seconds at the beginning that do not count: graphs are compiled and caches filled."""

BACKEND = "streamdiff-stand-in"


class Driver:
    """What pyvirtualcam speaks to, without a device."""

    def __init__(self, width: int, height: int, fps: float, fourcc: int, device: str | None, **_: Any) -> None:
        del width, height, fps, fourcc, device

    def close(self) -> None:
        """Nothing is open."""

    def send(self, frame: np.ndarray) -> None:
        """A copy, as a driver makes one."""
        frame.copy()

    def device(self) -> str:
        """Its name."""
        return "stand-in"

    def native_fourcc(self) -> int:
        """RGB, as it comes."""
        return 0


class Timed(VirtualCamera):
    """A virtual camera that keeps when each frame was delivered, and how long after its capture."""

    def __init__(self, picture: Picture, kept: list[tuple[float, float]]) -> None:
        super().__init__(picture, backend=BACKEND)
        self._kept = kept

    def write(self, frame: Frame) -> None:
        """See ``Sink``."""
        super().write(frame)
        now = time.monotonic()
        self._kept.append((now, now - (frame.captured or now)))


def measured(kept: list[tuple[float, float]], parts: int) -> dict[str, Any]:
    """Figures of (delivered, latency) in seconds, the beginning left out."""
    times = np.array([t for t, _ in kept])
    latency = 1000 * np.array([ms for _, ms in kept])
    counts = times > times[0] + WARM
    times, latency = times[counts], latency[counts]
    pieces = np.array_split(latency, parts)
    return {
        "fps": round((len(times) - 1) / (times[-1] - times[0]), 2),
        "p50_ms": round(float(np.median(latency)), 1),
        "p95_ms": round(float(np.percentile(latency, 95)), 1),
        "p50_ms_by_part": [round(float(np.median(piece)), 1) for piece in pieces],
    }


def main(
    source: Annotated[
        str, typer.Option("--input", help="as streamdiff live takes it")
    ] = "pattern?size=256x256&rate=30",
    seconds: Annotated[float, typer.Option(min=10, help="how long")] = 60.0,
    parts: Annotated[int, typer.Option(min=1, help="of the run, each with its own median")] = 10,
    size: Annotated[int, typer.Option(help="side of the pictures")] = 256,
    precision: Annotated[str | None, typer.Option(help="as streamdiff live takes it")] = None,
    prompt: Annotated[str, typer.Option(help="what it should look like")] = "pencil sketch",
    mode: Annotated[Mode, typer.Option(help="as streamdiff live takes it")] = Mode.stream,
) -> None:
    """Run it."""
    import pyvirtualcam

    pyvirtualcam.register_backend(BACKEND, Driver)
    kept: list[tuple[float, float]] = []
    opening: Callable[[Picture], VirtualCamera] = lambda picture: Timed(picture, kept)  # noqa: E731
    settings = {"width": size, "height": size, "prompt": prompt, "mode": mode}
    with open_run(Choice(precision=precision, settings=settings)) as stream:
        show = Show(stream, source_from(source), [opening])
        show.start()
        show.wait(seconds)
        show.join()
        figures = show.figures()
        engine = stream.runtime.description
    sink = figures["sinks"][0]
    print(json.dumps({
        **measured(kept, parts), "seconds": seconds, "source": figures["source"]["read"],
        "delivered": sink["delivered"], "overtaken": sink["overtaken"], "lost": sink["lost"],
        "model": figures["model"], "engine": engine, "size": size, "mode": mode.value,
    }))  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
