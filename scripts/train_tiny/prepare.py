"""Stage 1: crop the photographs and stylise the crops into the cache (resumable; later stages may start meanwhile)."""

from __future__ import annotations

import time
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.progress import Progress

from .config import DEFAULT_CONFIG, DEFAULT_DATA, DEFAULT_WORK, Config, load_config
from .data import PHOTO, Cache, crop_photo, list_photos, read_rgb

CHUNK = 24  # photographs per task of a worker process


def crop_chunk(data: Path, work: Path, config: Config, start: int, stop: int) -> None:
    """Fill rows start..stop of the photographs' layer, all crops."""
    cv2.setNumThreads(1)
    cache = Cache(work, config.data)
    photos = cache.photos()
    size = config.data.size
    array = cache.create("pictures", PHOTO, (size, size, 3), "uint8")
    for row in range(start, min(stop, len(photos))):
        picture = read_rgb(data / photos[row].name)
        rng = np.random.default_rng([config.seed, row])
        for k in range(config.data.crops):
            array[row, k] = crop_photo(picture, photos[row], k, size, rng)


def style_chunk(work: Path, config: Config, names: list[str], crop: int, start: int, stop: int) -> None:
    """Fill rows start..stop of the given styles' layers for one crop."""
    from .styles import STYLES

    cv2.setNumThreads(1)
    cache = Cache(work, config.data)
    size = config.data.size
    photos = cache.open("pictures", PHOTO)
    arrays = {n: cache.create("pictures", n, (size, size, 3), "uint8") for n in names}
    for row in range(start, min(stop, len(photos))):
        picture = np.array(photos[row, crop])
        for name in names:
            seed = config.seed + row * config.data.crops + crop
            arrays[name][row, crop] = STYLES[name].stylise(picture, np.random.default_rng(seed))


def main(
    data: Annotated[Path, typer.Option(help="folder of photographs (LICENSES.tsv is used when there)")] = DEFAULT_DATA,
    work: Annotated[Path, typer.Option(help="folder for caches and checkpoints")] = DEFAULT_WORK,
    config_file: Annotated[Path, typer.Option("--config", help="TOML file")] = DEFAULT_CONFIG,
    processes: Annotated[int, typer.Option(min=1, help="worker processes")] = 2,
    only_photos: Annotated[bool, typer.Option(help="stop after the crops")] = False,
    style: Annotated[list[str] | None, typer.Option(help="only these styles; they are made anew")] = None,
) -> None:
    """Fill the cache of pictures."""
    config = load_config(config_file)
    cache = Cache(work, config.data)
    size, crops = config.data.size, config.data.crops
    if not (work / "index.json").exists():
        cache.write_index(list_photos(data))
    count = len(cache.photos())
    with get_context("spawn").Pool(processes) as pool, Progress() as bar:
        if min(cache.done("pictures", PHOTO)) < count:
            cache.create("pictures", PHOTO, (size, size, 3), "uint8")
            task = bar.add_task("photographs", total=count)
            starts = list(range(0, count, CHUNK))
            jobs = [pool.apply_async(crop_chunk, (data, work, config, s, s + CHUNK)) for s in starts]
            for start, job in zip(starts, jobs, strict=True):
                job.get()
                rows = min(count, start + CHUNK)
                cache.set_done("pictures", PHOTO, [rows] * crops)
                bar.update(task, completed=rows)
        if only_photos:
            return
        from .styles import STYLES

        names = style or [n for n in STYLES if n != PHOTO]
        for name in names:
            cache.create("pictures", name, (size, size, 3), "uint8")
            if style:
                cache.set_done("pictures", name, [0] * crops)
        began = time.monotonic()
        for crop in range(crops):
            first = min(cache.done("pictures", n)[crop] for n in names)
            starts = list(range(first, count, CHUNK))
            task = bar.add_task(f"styles, crop {crop}", total=count, completed=first)
            jobs = [pool.apply_async(style_chunk, (work, config, names, crop, s, s + CHUNK)) for s in starts]
            for start, job in zip(starts, jobs, strict=True):
                job.get()
                rows = min(count, start + CHUNK)
                for name in names:
                    done = cache.done("pictures", name)
                    done[crop] = max(done[crop], rows)
                    cache.set_done("pictures", name, done)
                bar.update(task, completed=rows)
        print(f"stylised in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    typer.run(main)
