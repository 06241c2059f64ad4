"""Stage 5: contact sheets and figures on held-out photographs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from .config import DEFAULT_CONFIG, DEFAULT_WORK, load_config
from .data import PHOTO, Cache, Picture, write_json
from .sampler import Sampler
from .styles import STYLES

FIGURES = "figures.json"


def choose_rows(cache: Cache) -> list[int]:
    """Six held-out photographs: three faces and three others, spread over the collection."""
    photos = cache.photos()
    held = [int(r) for r in cache.rows(held_out=True)]
    faces = [r for r in held if photos[r].category == "people" and photos[r].faces == 1] or held
    others = [r for r in held if photos[r].category not in ("people", "")] or held
    spread = [len(faces) // 6, len(faces) // 2, 5 * len(faces) // 6]
    return [faces[i] for i in spread] + [others[i * len(others) // 3] for i in range(3)]


def contact_sheet(rows: list[tuple[str, list[Picture]]], tile: int = 256) -> Picture:
    """Rows of pictures with a label at the left, as one RGB picture."""
    lines = []
    for label, pictures in rows:
        margin = np.full((tile, 110, 3), 255, np.uint8)
        for i, word in enumerate(label.split()):
            cv2.putText(
                margin,
                word,
                (4, tile // 2 + 20 * i),
                cv2.FONT_HERSHEY_SIMPLEX,
                0.5,
                (0, 0, 0),
                1,
                cv2.LINE_AA,
            )
        lines.append(np.concatenate([margin, *pictures], axis=1))
    return np.concatenate(lines, axis=0)


def write_sheet(
    sampler: Sampler, cache: Cache, rows: list[int], path: Path, strength: float, steps: int, guidance: float
) -> None:
    """All styles on the given held-out photographs."""
    source = np.array(cache.open("pictures", PHOTO)[rows, 0])
    z = sampler.encode(torch.from_numpy(source))
    lines = [("input", list(source))]
    for name in STYLES:
        out = sampler.decode(sampler.latents(z, [name] * len(rows), strength, steps, guidance)).numpy()
        lines.append((name, list(out)))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), contact_sheet(lines)[..., ::-1])


def nearest(output: Tensor, targets: Tensor) -> int:
    """Index of the target [S, C, h, w] nearest to the output [C, h, w]."""
    return int((targets - output).square().mean((1, 2, 3)).argmin())


def figures(sampler: Sampler, cache: Cache, rows: list[int]) -> dict[str, Any]:
    """Recognisability and distance to the target per style, steps, strength and flicker."""
    pictures = torch.from_numpy(np.array(cache.open("pictures", PHOTO)[rows, 0]))
    z = sampler.encode(pictures)
    targets = torch.stack(
        [sampler.encode(torch.from_numpy(np.array(cache.open("pictures", n)[rows, 0]))) for n in STYLES]
    )
    result: dict[str, Any] = {
        "photographs": len(rows),
        "pairs": sampler.pairs,
        "seconds": round(sampler.seconds),
    }
    table: dict[str, Any] = {}
    hits: dict[int, list[bool]] = {1: [], 2: [], 4: []}
    errors: dict[int, list[float]] = {1: [], 2: [], 4: []}
    for index, name in enumerate(STYLES):
        prompts = [name] * len(rows)
        for steps in hits:
            out = sampler.latents(z, prompts, 0.5, steps)
            right = [nearest(out[i], targets[:, i]) == index for i in range(len(rows))]
            error = float((out - targets[index]).abs().mean())
            hits[steps] += right
            errors[steps].append(error)
            if steps == 1:
                base = float((z - targets[index]).abs().mean())
                table[name] = {
                    "recognised": round(float(np.mean(right)), 3),
                    "latent_l1": round(error, 4),
                    "latent_l1_of_input": round(base, 4),
                }
    result["styles"] = table
    result["recognised_by_steps"] = {str(s): round(float(np.mean(v)), 4) for s, v in hits.items()}
    result["latent_l1_by_steps"] = {str(s): round(float(np.mean(v)), 4) for s, v in errors.items()}
    result["change_by_strength"] = {
        str(s): round(float(np.mean([(sampler.latents(z, [n] * len(rows), s) - z).abs().mean() for n in STYLES])), 4)
        for s in (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
    }
    result["flicker_ratio"] = flicker(sampler, pictures[: min(4, len(rows))])
    return result


def flicker(sampler: Sampler, pictures: Tensor, sigma: float = 3.0) -> dict[str, float]:
    """Change of the output between two noisy copies of a still picture, relative to the input's own change."""
    generator = torch.Generator().manual_seed(1)
    copies = [
        (pictures + torch.randn(pictures.shape, generator=generator) * sigma).clamp(0, 255).round().to(torch.uint8)
        for _ in range(2)
    ]
    own = float((copies[0].float() - copies[1].float()).abs().mean())
    z = [sampler.encode(c) for c in copies]
    result = {}
    for name in STYLES:
        a, b = (sampler.decode(sampler.latents(v, [name] * len(v))).float() for v in z)
        result[name] = round(float((a - b).abs().mean()) / own, 3)
    return result


def main(
    work: Annotated[Path, typer.Option(help="folder for caches and checkpoints")] = DEFAULT_WORK,
    config_file: Annotated[Path, typer.Option("--config", help="TOML file")] = DEFAULT_CONFIG,
    rows: Annotated[str, typer.Option(help="rows of the sheet's photographs, comma separated")] = "",
    strength: Annotated[float, typer.Option(min=0.02, max=1)] = 0.5,
    steps: Annotated[int, typer.Option(min=1, max=8)] = 1,
    guidance: Annotated[float, typer.Option(min=1)] = 1.0,
    photographs: Annotated[int, typer.Option(help="held-out photographs for the figures; 0 leaves them out")] = 0,
) -> None:
    """Draw a contact sheet, and with --photographs measure the figures too."""
    config = load_config(config_file)
    cache = Cache(work, config.data)
    torch.set_grad_enabled(False)
    sampler = Sampler(work, config, config_file)
    chosen = [int(r) for r in rows.split(",")] if rows else choose_rows(cache)
    name = f"{time.strftime('%H%M%S')}_pairs{sampler.pairs}_s{strength}_n{steps}_g{guidance}.png"
    path = work / "sheets" / name
    write_sheet(sampler, cache, chosen, path, strength, steps, guidance)
    console = Console()
    console.print(f"wrote {path}")
    if photographs:
        measured = figures(sampler, cache, [int(r) for r in cache.rows(held_out=True)[:photographs]])
        write_json(work / FIGURES, measured)
        table = Table("style", "recognised", "latent L1", "of the input")
        for style, row in measured["styles"].items():
            table.add_row(style, *(str(v) for v in row.values()))
        console.print(table)
        console.print(json.dumps({k: v for k, v in measured.items() if k != "styles"}))


if __name__ == "__main__":
    typer.run(main)
