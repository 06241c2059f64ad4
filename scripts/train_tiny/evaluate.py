"""Stage 5: contact sheet and figures of the exported model on held-out photographs and clips; writes its card."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from . import measures
from .card import FIGURES, write_card
from .classifier import train_judge
from .config import DEFAULT_CONFIG, DEFAULT_DATA, DEFAULT_OUT, DEFAULT_WORK, load_config
from .data import PHOTO, Cache, Picture, Pictures, write_json
from .renderer import Renderer

SHEET_CLIP = "tears-of-steel.mp4"
MOOD_STYLES = (PHOTO, "pencil sketch", "oil painting", "anime")


def choose_rows(cache: Cache) -> list[int]:
    """Six held-out photographs: three faces and three others, spread over the collection."""
    photos = cache.photos()
    held = [int(r) for r in cache.rows(held_out=True)]
    faces = [r for r in held if photos[r].category == "people" and photos[r].faces == 1] or held
    others = [r for r in held if photos[r].category not in ("people", "")] or held
    spread = [len(faces) // 6, len(faces) // 2, 5 * len(faces) // 6]
    return [faces[i] for i in spread] + [others[i * len(others) // 3] for i in range(3)]


def contact_sheet(rows: list[tuple[str, list[Picture]]], tile: int) -> Picture:
    """Rows of pictures with a label at the left, as one RGB picture."""
    lines = []
    for label, pictures in rows:
        margin = np.full((tile, 112, 3), 255, np.uint8)
        for i, word in enumerate(label.split()):
            place = (4, tile // 2 + 18 * i)
            cv2.putText(margin, word, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        small = [cv2.resize(p, (tile, tile), interpolation=cv2.INTER_AREA) for p in pictures]
        lines.append(np.concatenate([margin, *small], axis=1))
    return np.asarray(np.concatenate(lines, axis=0), dtype=np.uint8)


def write_sheet(render: Renderer, cache: Cache, clips: Path, path: Path, tile: int, **settings: Any) -> None:
    """All styles on six held-out photographs and three frames of a held-out clip."""
    pictures = list(np.array(cache.open(PHOTO)[choose_rows(cache), 0]))
    if (clips / SHEET_CLIP).exists():
        pictures += list(measures.read_clip(clips / SHEET_CLIP, cache.config.size, 24, 49)[::24])
    lines = [("input", pictures)]
    lines += [(name, list(render(pictures, name, **settings))) for name in cache.styles]
    path.parent.mkdir(parents=True, exist_ok=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 88] if path.suffix == ".jpg" else []
    cv2.imwrite(str(path), contact_sheet(lines, tile)[..., ::-1], quality)


def sequences(cache: Cache, clips: Path, row: int, frames: int) -> dict[str, Any]:
    """The sequences that flicker is measured on."""
    photo = np.array(cache.open(PHOTO)[row, 0])
    found = {"still": measures.still_with_noise(photo, frames), "pan": measures.slow_pan(photo, frames)}
    if (clips / SHEET_CLIP).exists():
        found["clip"] = measures.read_clip(clips / SHEET_CLIP, cache.config.size, 24, frames)
    return found


def drawn(cache: Cache, pictures: Pictures, style: str) -> Pictures:
    """What the model is to learn: pictures [N, H, W, 3] through the style's own filter."""
    return np.stack([cache.styles[style].stylise(picture) for picture in pictures])


def main(
    work: Annotated[Path, typer.Option(help="folder for caches and checkpoints")] = DEFAULT_WORK,
    data: Annotated[Path, typer.Option(help="folder with clips/, for the credits and the clip")] = DEFAULT_DATA,
    model: Annotated[Path, typer.Option(help="the exported model; its card is written too")] = DEFAULT_OUT,
    config_file: Annotated[Path, typer.Option("--config", help="TOML file")] = DEFAULT_CONFIG,
    sheet: Annotated[
        Path | None, typer.Option(help="where the contact sheet goes [default: in the work folder]")
    ] = None,
    tile: Annotated[int, typer.Option(min=32, help="pixels of a picture on the sheet")] = 128,
    strength: Annotated[float, typer.Option(min=0.02, max=1, help="of the sheet")] = 0.5,
    steps: Annotated[int, typer.Option(min=1, max=8, help="of the sheet")] = 1,
    photographs: Annotated[int, typer.Option(help="held-out photographs for the figures; 0 leaves them out")] = 12,
    judge_minutes: Annotated[
        float, typer.Option(help="training time of the classifier, on a machine with nothing else to do")
    ] = 5.0,
) -> None:
    """Draw the contact sheet, measure the figures, and write the model's card."""
    config = load_config(config_file)
    cache = Cache(work, config)
    render = Renderer(model, config.data.size)
    console = Console()
    path = sheet or work / "sheets" / f"{config.version}_s{strength}_n{steps}.png"
    write_sheet(render, cache, data / "clips", path, tile, strength=strength, steps=steps)
    console.print(f"wrote {path}")
    if not photographs:
        return
    rows = [int(r) for r in cache.rows(held_out=True)[:photographs]]
    with Progress() as bar:
        task = bar.add_task("classifier", total=1.0)
        judge = train_judge(cache, config.seed, judge_minutes, lambda share: bar.update(task, completed=share))
    names = [cache.photos()[row].name for row in choose_rows(cache)]
    figures: dict[str, Any] = {"photographs": len(rows), "sheet": [*names, f"clips/{SHEET_CLIP}"]}
    figures |= measures.recognition(render, cache, judge, rows)
    figures["moods"] = measures.moods(render, cache, rows[: max(2, len(rows) // 3)], MOOD_STYLES)
    figures |= measures.strengths(render, cache, rows[: max(2, len(rows) // 3)])
    faces = choose_rows(cache)
    moving = sequences(cache, data / "clips", faces[0], 12)
    figures["flicker"] = measures.flicker(render, cache.styles, moving)
    figures["flicker_of_targets"] = measures.flicker(partial(drawn, cache), cache.styles, moving)
    write_json(work / FIGURES, figures)
    write_card(work, config, data, model)
    table = Table("style", *next(iter(figures["styles"].values())))
    for style, row in figures["styles"].items():
        table.add_row(style, *(str(v) for v in row.values()))
    console.print(table)
    console.print(json.dumps({k: v for k, v in figures.items() if k != "styles"}))


if __name__ == "__main__":
    typer.run(main)
