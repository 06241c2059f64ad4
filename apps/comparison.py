"""``streamdiff bench --all``: every engine and precision of this machine, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from apps.quality import psnr
from engines import EngineError, available, choose
from engines.precision import EIGHT_BITS
from streamdiff.frame import Frame, Pixels

REFERENCE = ("torch", "fp32")
"""What the pictures of all others are compared with."""

PRECISIONS = ("fp32", "bf16", "fp16", *EIGHT_BITS)

FRAMES = 60
"""Of the footage, shown over and over."""

PROMPTS = ("pencil sketch", "oil painting", "neon", "anime")
"""Looks that the pictures are compared in."""


@dataclass(frozen=True)
class Task:
    """One engine at one precision.

    Attributes:
        engine, precision: as ``choose`` takes them.
        model: as ``load_model`` takes it.
        width, height: pixels.
        frames: timed for each figure.
        baseline: compare the speed with diffusers' own pipeline too, in turns.
        pictures: file that the finished pictures are saved to, .npy.
    """

    engine: str
    precision: str
    model: str
    width: int
    height: int
    frames: int
    baseline: bool
    pictures: str


def candidates() -> list[tuple[str, str]]:
    """Engines and precisions that can run here, the reference first."""
    found = [REFERENCE]
    for engine in (candidate.name for candidate in available() if candidate.usable):
        for precision in PRECISIONS:
            try:
                choose(engine, None, precision)
            except EngineError:
                continue
            if engine == "torch" and choose(engine).device.type == "cpu" and precision != "fp32":
                continue  # emulated, and slower than anybody would wait for
            if (engine, precision) != REFERENCE:
                found.append((engine, precision))
    return found


def compare(
    model: str, size: tuple[int, int], frames: int, *, baseline: bool, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure all of them; one that fails is in the result with the reason.

    Returns:
        For each: engine, precision, ms of the parts, ms and frames per second by steps, memory, PSNR against
        PyTorch's fp32 in dB, and the ratio to diffusers' pipeline; or "failed".
    """
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="streamdiff") as folder:
        for engine, precision in candidates():
            say(f"{engine} {precision}")
            pictures = Path(folder) / f"{engine}-{precision}.npy"
            task = Task(engine, precision, model, *size, frames, baseline, str(pictures))
            row = {"engine": engine, "precision": precision, **_in_a_process(task)}
            if pictures.is_file():
                reference = Path(folder) / f"{'-'.join(REFERENCE)}.npy"
                row["psnr_db"] = round(psnr(np.load(pictures), np.load(reference)), 2)
            rows.append(row)
    return rows


def _in_a_process(task: Task) -> dict[str, Any]:
    # Of its own: memory would otherwise be that of all before it together.
    command = [sys.executable, "-c", "from apps.comparison import work; work()", json.dumps(asdict(task))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        why = done.stderr.strip().splitlines()
        return {"failed": why[-1] if why else f"exit code {done.returncode}"}
    return json.loads(lines[-1])


def work() -> None:
    """What the process does: the task is its first argument, the result its last line."""
    from streamdiff import StreamdiffError

    try:
        sys.stdout.write(json.dumps(measure(Task(**json.loads(sys.argv[1])))) + "\n")
    except (StreamdiffError, EngineError) as error:
        sys.exit(str(error))


def measure(task: Task) -> dict[str, Any]:
    """Measure one engine in this process.

    Raises:
        ModelError, EngineError: it cannot run here.
    """
    from apps.benchmark import baseline, moving_pictures, parts, whole_step
    from apps.machine import peak_memory_mb
    from streamdiff import Stream

    settings: dict[str, Any] = {"width": task.width, "height": task.height, "prompt": PROMPTS[0]}
    stream = Stream.from_pretrained(task.model, engine=task.engine, precision=task.precision, **settings)
    # Ten seconds of a pan, for its pace: a faster one would be another scene at every frame, and reuse nothing.
    pictures = moving_pictures(task.width, task.height, 300)[0][:FRAMES]
    np.save(task.pictures, np.stack([_one(stream, pictures[5 * i], prompt) for i, prompt in enumerate(PROMPTS)]))
    stream.update(prompt=PROMPTS[0])
    timings = parts(stream, pictures, task.frames)
    result: dict[str, Any] = {"parts": {name: timing.as_dict()["median_ms"] for name, timing in timings.items()}}
    result["steps"] = {}
    for steps in (1, 2, 4):
        stream.update(steps=steps)
        stream.reset()
        result["steps"][str(steps)] = whole_step(stream, pictures, task.frames).as_dict()
    result["reuse"] = _reuse(stream, pictures, task.frames)
    result["peak_memory_mb"] = round(peak_memory_mb())
    if task.baseline:
        result["baseline"] = baseline(stream, task.model, pictures, (1,), max(5, task.frames // 10))
    return result


def _one(stream: Any, picture: Pixels, prompt: str) -> Pixels:
    stream.update(prompt=prompt)
    stream.reset()
    return (stream.push(Frame(picture)) + stream.flush())[0].pixels


def _reuse(stream: Any, pictures: list[Pixels], frames: int) -> dict[str, float] | None:
    """One step with features reused every second frame: frames per second in the mean, and PSNR against without."""
    from apps.benchmark import timed

    if not stream.model.deep_channels:
        return None
    stream.update(steps=1)
    stream.reset()
    whole = np.stack([stream.push(Frame(p))[0].pixels for p in pictures[:8]])
    stream.update(reuse_every=2)
    stream.reset()
    kept = np.stack([stream.push(Frame(p))[0].pixels for p in pictures[:8]])
    ours = timed(lambda i: stream.push(Frame(pictures[i % len(pictures)])), frames - frames % 2)
    stream.update(reuse_every=1)
    return {"mean_fps": round(len(ours.seconds) / sum(ours.seconds), 2), "psnr_db": round(psnr(kept, whole), 2)}
