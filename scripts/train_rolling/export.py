"""Write the averaged weights as a folder that ``load_rolling`` reads, in fp16, with its model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from scripts.train_tiny.data import write_json
from scripts.train_tiny.export import checksums, placed
from scripts.train_tiny.loop import Ema, load_checkpoint
from streamdiff.models.quiet import quiet
from streamdiff.rolling.on_pictures import FACTS

from .card import TRAINING, write_card
from .config import DEFAULT_CONFIG, DEFAULT_DATA, DEFAULT_OUT, DEFAULT_WORK, Config, load_config
from .run import build, check_given, entry, given_to
from .train import CHECKPOINT

LIMIT_MB = 20.0


def write(work: Path, config: Config, data: Path, folder: Path) -> dict[str, Any]:
    """Write the folder; returns what the card says of the training."""
    state = load_checkpoint(work / CHECKPOINT)
    if state is None:
        raise FileNotFoundError(f"no {CHECKPOINT} in {work}: run train first")
    check_given(state, config, work / CHECKPOINT)
    wan, _ = build(config)
    ema = Ema(wan, config.train.ema)
    ema.load_state_dict(state["ema"])
    ema.copy_to(wan)
    with quiet():  # fp16 is how they are kept; whoever loads them computes in float32 where it matters
        wan.to(torch.float16).save_pretrained(folder / "transformer")
    model = config.model
    write_json(
        folder / FACTS,
        {
            "version": config.version,
            "pictures": config.pictures if config.pictures == "tiny" else str(Path(config.pictures).resolve()),
            "steps": list(model.steps),
            "shift": model.shift,
            "block": model.block,
            "span": model.span,
            **given_to(config),
            "fps": model.fps,
            "size": list(model.size),
        },
    )
    facts: dict[str, Any] = {
        "version": config.version,
        "trainings": [*state["history"], entry(state)],
        "parameters": sum(p.numel() for p in wan.parameters()),
    }
    write_json(folder / TRAINING, facts)
    write_json(folder / "checksums.json", {"version": config.version, "sha256": checksums(folder)})
    write_card(folder, config, data)
    return facts


def main(
    work: Annotated[Path, typer.Option(help="folder for caches and checkpoints")] = DEFAULT_WORK,
    data: Annotated[Path, typer.Option(help="folder of photographs and clips, for the credits")] = DEFAULT_DATA,
    out: Annotated[Path, typer.Option(help="the model's folder")] = DEFAULT_OUT,
    config_file: Annotated[Path, typer.Option("--config", help="TOML file")] = DEFAULT_CONFIG,
) -> None:
    """Export the model; the folder always holds whole files, so others may load it meanwhile."""
    config = load_config(config_file)
    with placed(out, LIMIT_MB) as folder:
        facts = write(work, config, data, folder)
    print(f"wrote {out}: {facts['parameters']:,} parameters")


if __name__ == "__main__":
    typer.run(main)
