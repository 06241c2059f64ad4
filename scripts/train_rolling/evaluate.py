"""Measure the exported model on held-out clips against the picture stream, plain and calm; write its card, and a clip
to look at."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from PIL import Image
from rich.progress import Progress

from scripts.train_tiny.data import PHOTO, Picture, Pictures, write_json
from scripts.train_tiny.measures import read_clip
from scripts.train_tiny.renderer import Renderer, played
from scripts.train_tiny.styles import STYLES
from streamdiff.models.load import TINY, load_model
from streamdiff.rolling import RollingStream

from .card import FIGURES, write_card
from .config import DEFAULT_CONFIG, DEFAULT_DATA, DEFAULT_OUT, load_config
from .latents import Latents
from .measures import figures, mean_of, motion

LABEL = 16  # pixels above each column of the sample clip


class RollingRenderer:
    """Stylises clips with an exported rolling model, each from its beginning."""

    def __init__(self, folder: Path, size: int) -> None:
        self.stream = RollingStream.from_pretrained(folder, device="cpu", width=size, height=size)

    def __call__(self, pictures: Pictures, prompt: str, **settings: Any) -> Pictures:
        """uint8 [F, H, W, 3] -> the same, stylised."""
        self.stream.update(prompt=prompt, **settings)
        return played(self.stream, pictures)


def sheets(columns: list[tuple[str, list[Pictures]]]) -> list[Picture]:
    """One picture for each frame: columns with a label above, the videos of each one below the other."""
    height, width = columns[0][1][0].shape[1:3]
    count, rows = len(columns[0][1][0]), len(columns[0][1])
    made: list[Picture] = []
    for i in range(count):
        sheet = np.full((LABEL + height * rows, width * len(columns), 3), 255, np.uint8)
        for x, (label, videos) in enumerate(columns):
            place = (x * width + 3, LABEL - 4)
            cv2.putText(sheet, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
            for y, frames in enumerate(videos):
                sheet[LABEL + y * height : LABEL + (y + 1) * height, x * width : (x + 1) * width] = frames[i]
        made.append(sheet)
    return made


def write_sample(path: Path, columns: list[tuple[str, list[Pictures]]], fps: int) -> None:
    """A moving WebP to look at."""
    first, *others = map(Image.fromarray, sheets(columns))
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save(path, save_all=True, append_images=others, duration=round(1000 / fps), loop=0, quality=60, method=4)


def main(
    data: Annotated[Path, typer.Option(help="folder with clips/, and LICENSES.tsv for the credits")] = DEFAULT_DATA,
    model: Annotated[Path, typer.Option(help="the exported model; its card is written too")] = DEFAULT_OUT,
    config_file: Annotated[Path, typer.Option("--config", help="TOML file")] = DEFAULT_CONFIG,
    style: Annotated[list[str] | None, typer.Option(help="only these styles; the card is not written then")] = None,
    sample: Annotated[Path | None, typer.Option(help="where a moving WebP to look at goes")] = None,
    frames: Annotated[int, typer.Option(min=12, help="of each clip")] = 36,
    level: Annotated[int, typer.Option(help="of the rolling model")] = 3,
    strength: Annotated[float, typer.Option(help="of the picture stream")] = 0.5,
) -> None:
    """Measure."""
    config = load_config(config_file)
    size = config.model.size[0]
    paths = [path for name in config.clips.held_out if (path := data / "clips" / name).exists()]
    if not paths:
        raise typer.BadParameter(f"{data / 'clips'} has none of {', '.join(config.clips.held_out)}")
    given = {path.name: read_clip(path, size, 24, frames) for path in paths}
    moved = {file: motion(clip) for file, clip in given.items()}
    first = next(iter(given.values()))
    latents = Latents(load_model(config.pictures), torch.device("cpu"))
    stream = Renderer(TINY if config.pictures == "tiny" else Path(config.pictures), size)
    renderers = {"stream": stream, "calm": stream, "rolling": RollingRenderer(model, size)}
    chosen = {
        "stream": {"strength": strength},
        "calm": {"strength": strength, "calm": config.model.calm},
        "rolling": {"level": level},
    }
    table: dict[str, Any] = {}
    columns: list[tuple[str, list[Pictures]]] = []
    seconds = made = 0.0
    names = style or [name for name in STYLES if name != PHOTO]
    with Progress() as bar:
        task = bar.add_task("styles", total=len(names))
        for name in names:
            rows: dict[str, list[dict[str, float]]] = {kind: [] for kind in renderers}
            shown: list[Pictures] = []
            for file, clip in given.items():
                target = np.stack([STYLES[name].stylise(frame) for frame in clip])
                for kind, render in renderers.items():
                    began = time.perf_counter()
                    out = render(clip, name, **chosen[kind])
                    if kind == "rolling":
                        seconds, made = seconds + time.perf_counter() - began, made + len(out)
                    rows[kind].append(figures(out, clip, moved[file], target, latents.encode))
                    if clip is first and kind != "calm":
                        shown.append(out)
            table[name] = {kind: mean_of(found) for kind, found in rows.items()}
            columns.append((name, [first, *shown]))
            bar.advance(task)
            bar.console.print(f"{name}: {table[name]}")
    mean = {kind: mean_of([row[kind] for row in table.values()]) for kind in renderers}
    fps = made / seconds
    print(f"mean: {mean}; {fps:.1f} pictures a second")
    if sample is not None:
        write_sample(sample, columns, round(config.model.fps))
    if style is None:
        told = {"clips": list(given), "frames": frames, "level": level, "strength": strength, "fps": round(fps, 1)}
        told["calm"] = config.model.calm
        machine = f"two cores of {platform.machine()}, {torch.get_num_threads()} threads"
        write_json(model / FIGURES, {**told, "machine": machine, "mean": mean, "styles": table})
        write_card(model, config, data)


if __name__ == "__main__":
    typer.run(main)
