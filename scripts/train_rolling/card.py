"""MODEL_CARD.md of a rolling model: what it is, how it was made, figures, limits, credits."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from scripts.train_tiny.card import sources

from .config import Config

TRAINING = "training.json"
FIGURES = "figures.json"
STAGES = {"pictures": "single pictures (a stage that is no more)", "rolling": "video"}


def clips(data: Path) -> list[tuple[str, str, str]]:
    """Clips of a data folder: (file, author, licence)."""
    table = data / "LICENSES.tsv"
    if not table.exists():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(r["file"], r["author"].strip(), r["licence"].strip()) for r in rows if r["file"].startswith("clips/")]


def write_card(folder: Path, config: Config, data: Path) -> None:
    """Write the card into a model's folder, from what export and evaluate left there."""
    facts = json.loads((folder / TRAINING).read_text(encoding="utf-8"))
    path = folder / FIGURES
    measured = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    lines = [*_head(config, facts), *([] if measured is None else _figures(measured)), *_limits(), *_credits(data)]
    (folder / "MODEL_CARD.md").write_text("\n".join(lines), encoding="utf-8")


def _head(config: Config, facts: dict[str, Any]) -> list[str]:
    model = config.model
    painted = (
        "; the picture model paints at timestep " + ", ".join(map(str, model.paint)) + " for level 1 on"
        if model.paint
        else ""
    )
    return [
        f"# {config.version}",
        "",
        "The embedded rolling model of streamdiff: Rolling Forcing (arXiv 2509.25161) on the latents of the embedded",
        "picture model. A camera's video in, the same stylised out: where the picture model paints, it restyles each",
        f"picture in one step; then blocks of {model.block} pictures are denoised jointly in a rolling window, with an",
        "attention sink and a cache of what came before.",
        "",
        f"- A WanTransformer3DModel of {facts['parameters'] / 1e6:.1f} M parameters: {model.layers} layers, "
        f"{model.heads} heads of {model.head_width}; it takes the painted or the camera's latents beside the noisy "
        "ones and predicts the change to them.",
        f"- Ladder {', '.join(map(str, model.steps))} of 1000{painted}; attention over {model.span} pictures; "
        f"{model.size[0]}x{model.size[1]}.",
        "",
        "## Training",
        "",
        "Made by `scripts/train_rolling` in this repository: pans and zooms over the embedded model's own training",
        "pictures, and real clips, through the same stylisation filters; the window runs as it does in use, and lives",
        "with its own predictions.",
        "",
        *(
            f"- {STAGES[one['stage']]}: {one['seconds'] / 60:.0f} minutes, {one['steps']:,} steps, {one['frames']:,} "
            "predicted pictures"
            for one in facts["trainings"]
        ),
        "- on two cores of a server CPU, shared with other work",
        "",
    ]


def _figures(measured: dict[str, Any]) -> list[str]:
    return [
        "## Figures",
        "",
        f"On {', '.join(measured['clips'])}, held out of training, {measured['frames']} frames each at 128x128; level "
        f"{measured['level']} against the picture stream run frame by frame at strength {measured['strength']}, plain",
        f"and with `calm = {measured['calm']}`, which the rolling model's painter has too.",
        "*Flicker*: change between neighbouring frames, as a ratio to the input's. *Warped*: what remains of it,",
        "of 255, after the frame before is moved along the input's motion. *Left*: distance of the output's latents to",
        "those of the filter's picture, as a share of the input's.",
        "",
        "| style | " + " | ".join(f"{key}: stream | calm | rolling" for key in ("flicker", "warped", "left")) + " |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_row(style, row) for style, row in measured["styles"].items()),
        _row("**mean**", measured["mean"]),
        "",
        f"Speed at 128x128 on {measured['machine']}: {measured['fps']:.1f} pictures a second.",
        "",
    ]


def _row(name: str, row: dict[str, Any]) -> str:
    sides = row["stream"], row["calm"], row["rolling"]
    cells = [f"{side[key]:.2f}" for key in ("flicker", "warped", "left") for side in sides]
    return f"| {name} | " + " | ".join(cells) + " |"


def _limits() -> list[str]:
    return [
        "## Limits",
        "",
        "Made for video from a camera or a file. Without one (text to video) it has little to say. Trained at pictures",
        "of about 128x128, in several shapes. It knows the styles and moods of the embedded picture model.",
        "",
    ]


def _credits(data: Path) -> list[str]:
    return [
        "## Credits",
        "",
        "None of the photographs or clips is part of the model's folder. Clips:",
        "",
        *(f"- {file}: {author}, {licence}" for file, author, licence in clips(data)),
        "",
        "Photographs:",
        "",
        *(f"- {name}: {licence}, {count}" for name, licence, count in sources(data)),
        "",
    ]
