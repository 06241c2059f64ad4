"""Real clips in the cache: segments of frames, and the same segments in each style, frame by frame.

``clips/<style>.npy`` is uint8 [segments, frames, H, W, 3] in RGB; ``clips/steadiness.json`` says how much each style's
frames change from one to the next, as a ratio to the clip's own: filters that recut the picture with every frame are
not learned from clips.
"""

from __future__ import annotations

import json
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.progress import Progress

from scripts.train_tiny.data import PHOTO, Pictures, write_json
from scripts.train_tiny.measures import frame_change, read_clip
from scripts.train_tiny.styles import STYLES

from .config import DEFAULT_CONFIG, DEFAULT_DATA, DEFAULT_WORK, ClipsConfig, load_config

FOLDER = "clips"
STEADINESS = "steadiness.json"


def clip_names(folder: Path, config: ClipsConfig, *, held_out: bool) -> list[str]:
    """The clips of a folder that training sees, or does not."""
    return sorted(p.name for p in folder.glob("*.mp4") if (p.name in config.held_out) == held_out)


def cut(path: Path, config: ClipsConfig) -> list[Pictures]:
    """Segments spread over a clip, [frames, H, W, 3] each; fewer where it is short."""
    width, height = config.size
    frames = read_clip(path, width, 0, 10**9, height=height)
    count = min(config.segments, len(frames) // config.frames)
    starts = np.linspace(0, len(frames) - config.frames, count).astype(int)
    return [frames[s : s + config.frames] for s in starts.tolist()]


def stylise(job: tuple[Path, str]) -> tuple[str, float]:
    """Write one style's segments; returns its steadiness."""
    folder, name = job
    cv2.setNumThreads(1)
    photos: Pictures = np.load(folder / f"{PHOTO}.npy", mmap_mode="r")
    style = STYLES[name]
    styled = np.stack([np.stack([style.stylise(np.array(frame)) for frame in segment]) for segment in photos])
    np.save(folder / f"{name}.npy", styled)
    ratios = [
        frame_change(out) / max(frame_change(np.array(given)), 0.1) for out, given in zip(styled, photos, strict=True)
    ]
    return name, round(float(np.median(ratios)), 3)


class Clips:
    """The cached segments, memory-mapped; empty where ``clips`` has not run."""

    def __init__(self, work: Path, config: ClipsConfig) -> None:
        folder = work / FOLDER
        told = folder / STEADINESS
        ratios: dict[str, float] = json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}
        self.steadiness = ratios
        names = [PHOTO, *(n for n, ratio in ratios.items() if ratio <= config.steadiness)] if ratios else []
        self.arrays: dict[str, Pictures] = {n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in names}

    def __len__(self) -> int:
        return len(self.arrays[PHOTO]) if self.arrays else 0


def main(
    data: Annotated[Path, typer.Option(help="folder with clips/")] = DEFAULT_DATA,
    work: Annotated[Path, typer.Option(help="folder for caches and checkpoints")] = DEFAULT_WORK,
    config_file: Annotated[Path, typer.Option("--config", help="TOML file")] = DEFAULT_CONFIG,
    processes: Annotated[int, typer.Option(min=1, help="worker processes")] = 2,
) -> None:
    """Cut the clips that training sees into segments, and stylise these."""
    config = load_config(config_file).clips
    folder = work / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    names = clip_names(data / "clips", config, held_out=False)
    segments = [segment for name in names for segment in cut(data / "clips" / name, config)]
    if not segments:
        raise typer.BadParameter(f"{data / 'clips'} has no clips of {config.frames} frames or more")
    np.save(folder / f"{PHOTO}.npy", np.stack(segments))
    jobs = [(folder, name) for name in STYLES if name != PHOTO]
    ratios: dict[str, float] = {}
    with get_context("spawn").Pool(processes) as pool, Progress() as bar:
        task = bar.add_task("styles", total=len(jobs))
        for name, ratio in pool.imap_unordered(stylise, jobs):
            ratios[name] = ratio
            bar.advance(task)
    write_json(folder / STEADINESS, dict(sorted(ratios.items(), key=lambda item: item[1])))
    print(f"{len(segments)} segments of {len(names)} clips in {len(ratios)} styles")


if __name__ == "__main__":
    typer.run(main)
