"""Stage 1: crop the photographs and stylise the crops into the cache (resumable; later stages may start meanwhile)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.progress import Progress

from .config import DEFAULT_CONFIG, DEFAULT_DATA, DEFAULT_WORK, Config, load_config
from .data import PHOTO, Cache, coarse, crop_photo, list_photos, read_rgb
from .filters import abstract, f32

CHUNK = 24  # photographs per task of a worker process


@dataclass(frozen=True)
class Job:
    """One pass over the photographs: which crop, and whether it is abstracted first."""

    crop: int
    coarse: bool

    def layer(self, style: str) -> str:
        """The layer that this pass fills for a style."""
        return coarse(style) if self.coarse else style

    def __str__(self) -> str:
        return f"crop {self.crop}{', coarse' if self.coarse else ''}"


def crop_chunk(data: Path, work: Path, config: Config, start: int, stop: int) -> None:
    """Fill rows start..stop of the photographs' layer, all crops."""
    cv2.setNumThreads(1)
    cache = Cache(work, config)
    photos = cache.photos()
    array = cache.create(PHOTO)
    for row in range(start, min(stop, len(photos))):
        picture = read_rgb(data / photos[row].name)
        rng = np.random.default_rng([config.seed, row])
        for k in range(config.data.crops):
            array[row, k] = crop_photo(picture, photos[row], k, config.data.size, rng)


def style_chunk(work: Path, config: Config, names: list[str], job: Job, start: int) -> None:
    """Fill CHUNK rows from `start` of the given styles' layers for one crop."""
    cv2.setNumThreads(1)
    cache = Cache(work, config)
    photos = cache.open(PHOTO)
    arrays = {n: cache.create(job.layer(n)) for n in names}
    for row in range(start, min(start + CHUNK, len(photos))):
        picture = np.array(photos[row, job.crop])
        if job.coarse:
            picture = np.asarray(abstract(f32(picture) / 255) * 255 + 0.5, dtype=np.uint8)
        for name in names:
            arrays[name][row, job.crop] = cache.styles[name].stylise(picture)


def main(
    data: Annotated[Path, typer.Option(help="folder of photographs (LICENSES.tsv is used when there)")] = DEFAULT_DATA,
    work: Annotated[Path, typer.Option(help="folder for caches and checkpoints")] = DEFAULT_WORK,
    config_file: Annotated[Path, typer.Option("--config", help="TOML file")] = DEFAULT_CONFIG,
    processes: Annotated[int, typer.Option(min=1, help="worker processes")] = 2,
    style: Annotated[list[str] | None, typer.Option(help="only these styles; they are made anew")] = None,
) -> None:
    """Fill the cache of pictures."""
    config = load_config(config_file)
    cache = Cache(work, config)
    crops = config.data.crops
    if not (work / "index.json").exists():
        found = list_photos(data)
        if not found:
            raise typer.BadParameter(f"{data} holds no photographs; give a folder of them: --data FOLDER")
        cache.write_index(found)
    count = len(cache.photos())
    with get_context("spawn").Pool(processes) as pool, Progress() as bar:
        if min(cache.done(PHOTO)) < count:
            cache.create(PHOTO)
            task = bar.add_task("photographs", total=count)
            starts = list(range(0, count, CHUNK))
            waiting = [pool.apply_async(crop_chunk, (data, work, config, s, s + CHUNK)) for s in starts]
            for start, result in zip(starts, waiting, strict=True):
                result.get()
                rows = min(count, start + CHUNK)
                cache.set_done(PHOTO, [rows] * crops)
                bar.update(task, completed=rows)
        names = style or [n for n in cache.styles if n != PHOTO]
        jobs = [Job(0, coarse=False), Job(0, coarse=True), *(Job(k, coarse=False) for k in range(1, crops))]
        for job in jobs:
            for name in names:
                cache.create(job.layer(name))
                if style:
                    cache.set_done(job.layer(name), [0] * crops)
        began = time.monotonic()
        for job in jobs:
            first = min(cache.done(job.layer(n))[job.crop] for n in names)
            starts = list(range(first, count, CHUNK))
            task = bar.add_task(f"styles, {job}", total=count, completed=first)
            waiting = [pool.apply_async(style_chunk, (work, config, names, job, s)) for s in starts]
            for start, result in zip(starts, waiting, strict=True):
                result.get()
                rows = min(count, start + CHUNK)
                for name in names:
                    done = cache.done(job.layer(name))
                    done[job.crop] = max(done[job.crop], rows)
                    cache.set_done(job.layer(name), done)
                bar.update(task, completed=rows)
        print(f"stylised in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    typer.run(main)
