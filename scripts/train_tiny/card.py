"""MODEL_CARD.md: what the model is, how it was made, figures, limits, credits."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

from streamdiff.models.cell_phase import CONFIG_KEY

from .config import Config
from .moods import MOODS

FACTS, FIGURES = "facts.json", "figures.json"
TRAINING = "training.json"  # the facts again, in the model's folder: what a later run begins from


def sources(data: Path) -> list[tuple[str, str, int]]:
    """Collections the photographs come from: (repository or package, licence, photographs)."""
    table = data / "LICENSES.tsv"
    if not table.exists():
        return []
    count: Counter[tuple[str, str]] = Counter()
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            source = next(v for k, v in row.items() if k.startswith("source"))
            if row["file"].startswith("photos/"):
                count[(source.split("@")[0].split(" : ")[0].strip(), row["licence"].strip())] += 1
    return [(name, licence, n) for (name, licence), n in count.most_common()]


def shown(data: Path, names: list[str]) -> list[str]:
    """Who made the pictures of the contact sheet: one line each, from LICENSES.tsv."""
    table = data / "LICENSES.tsv"
    if not table.exists():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    return [f"{rows[n]['author'].strip() or 'unknown'}, {rows[n]['licence'].strip()} ({n})" for n in names if n in rows]


def write_card(work: Path, config: Config, data: Path, folder: Path) -> None:
    """Write the card into a model's folder, from the facts that export left in the work folder and the figures of
    evaluate, where it has run."""
    facts = json.loads((work / FACTS).read_text())
    measured = json.loads((work / FIGURES).read_text()) if (work / FIGURES).exists() else {}
    lines = [*_head(config, facts), *_autoencoder(facts)]
    if measured:
        lines += [*_styles(measured), *_others(measured)]
    lines += [*_limits(), *_credits(sources(data)), *_sheet(shown(data, measured.get("sheet", [])))]
    (folder / "MODEL_CARD.md").write_text("\n".join(lines), encoding="utf-8")


def _head(config: Config, facts: dict[str, Any]) -> list[str]:
    size = facts["parameters"]
    return [
        f"# {config.version}",
        "",
        "The embedded model of streamdiff: a latent img2img diffusion model for 256x256 video on two CPU cores.",
        "It takes a noised picture latent, the clean latent of the same picture as extra input channels",
        "(InstructPix2Pix order) and a prompt, and predicts the clean stylised latent. One to four LCM steps.",
        "",
        f"- UNet {size['unet'] / 1e6:.1f} M parameters, text encoder {size['text_encoder'] / 1e6:.2f} M, "
        f"autoencoder {size['vae'] / 1e6:.2f} M; {facts['size_mb']:.1f} MB in fp16.",
        f"- Autoencoder: AutoencoderTiny, f8, {config.vae.latent_channels} latent channels. "
        "Its first two encoder and last two decoder convolutions each fold exactly into one.",
        *_phase(config),
        "- Styles: " + ", ".join(f'"{n}"' for n in config.styles()) + ".",
        "- Moods, which go with any style: " + ", ".join(f'"{n}"' for n in MOODS) + ".",
        "- Synonyms of both are in `styles.json`; free wordings of them are understood.",
        "- The empty prompt gives the photograph back; guidance away from it exaggerates the style.",
        "",
        "## Training",
        "",
        "Made by `scripts/train_tiny` in this repository. Pairs (photograph, the same photograph through a",
        "stylisation filter); all filters are written for this project.",
        "",
        f"- autoencoder: {facts['vae_minutes']:.0f} minutes, those of earlier versions included",
        f"- denoiser: {facts['unet_minutes']:.0f} minutes, {facts['pairs']} pairs"
        + (f", begun with {facts['started_from']}" if facts["started_from"] else ""),
        "- on two cores of a server CPU, shared with other work",
        "",
    ]


def _phase(config: Config) -> list[str]:
    if not config.vae.cell_phase:
        return []
    return [
        f"- Its decoder was trained with a pattern added to the latents, {config.vae.cell_phase} (-1)^column in even "
        f"channels and {config.vae.cell_phase} (-1)^row in odd ones, which shows it where a cell begins: without "
        "it no convolution can draw a screen (dots, tiles, stitches) of one cell. streamdiff adds it "
        f"(`{CONFIG_KEY}` in `vae/config.json`); other programs have to.",
    ]


def _autoencoder(facts: dict[str, Any]) -> list[str]:
    return [
        "## Figures, on photographs held out of training",
        "",
        "Autoencoder at 256x256:",
        "",
        "| pictures | PSNR, dB | SSIM |",
        "|---|---|---|",
        *(f"| {layer} | {v[0]:.1f} | {v[1]:.3f} |" for layer, v in facts["vae_figures"].items()),
        "",
    ]


def _styles(measured: dict[str, Any]) -> list[str]:
    steps, far = measured["recognised_by_steps"], measured["distance_by_steps"]
    return [
        f"Styles: {measured['photographs']} photographs, strength 0.5, one step. *Recognised*: a small classifier, "
        "trained on the filters' own pictures of the training photographs, names the prompt from the output (of the "
        f"filters' pictures of these held-out photographs it names {measured['targets_recognised']:.1%}). *Distance*: "
        "of the output to the filter's picture, by that classifier's features; beside it, as baselines, that of the "
        "input, and that of the mean of the style's pictures.",
        "",
        "| prompt | recognised | else taken for | distance | of the input | of the mean picture |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {row['recognised']:.0%} | {row['taken_for']} | {row['distance']:.3f} | "
            f"{row['of_input']:.3f} | {row['of_mean_target']:.3f} |"
            for name, row in measured["styles"].items()
        ),
        "",
        "Steps 1 / 2 / 4: recognised "
        + " / ".join(f"{steps[s]:.1%}" for s in ("1", "2", "4"))
        + ", distance "
        + " / ".join(f"{far[s]:.3f}" for s in ("1", "2", "4"))
        + ".",
        "",
    ]


def _others(measured: dict[str, Any]) -> list[str]:
    flicker: dict[str, dict[str, float]] = measured["flicker"]
    own: dict[str, dict[str, float]] = measured.get("flicker_of_targets", {})  # of figures made before: none
    names = list(next(iter(flicker.values())))
    return [
        "Moods, with four of the styles: the mood's own colours are nearer than those of any other mood or of none in "
        + ", ".join(f"{n} {v:.0%}" for n, v in measured["moods"].items())
        + " of the outputs.",
        "",
        "Structure kept (correlation of the edges' strength with the input's) and change (mean, of 255) by strength: "
        + ", ".join(f"{s}: {v:.2f}, {measured['change'][s]:.1f}" for s, v in measured["structure_kept"].items())
        + ".",
        "",
        "Flicker: change between neighbouring output frames, as a ratio to the input's own, of a still picture with "
        "camera noise (sigma 3/255), a slow pan (1 pixel a frame) and a clip; in brackets that of the filter's own "
        "pictures, which have more contrast than the input:",
        "",
        "| style | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
        *(
            f"| {style} | "
            + " | ".join(f"{row[n]:.2f}" + (f" ({own[style][n]:.2f})" if own else "") for n in names)
            + " |"
            for style, row in flicker.items()
        ),
        "",
    ]


def _limits() -> list[str]:
    return [
        "## Limits",
        "",
        "Knows its styles and moods and little else: other words lead to the nearest it knows, or to something",
        "near the photograph. It restyles what is in the picture; it does not invent or move things. Trained at",
        "128x128 and 256x256; fine detail (small lettering, far faces) is softened by the f8 autoencoder. Patterns",
        "(dots, tiles, stitches) stay on the screen while the picture moves under them.",
        "",
    ]


def _sheet(pictures: list[str]) -> list[str]:
    if not pictures:
        return []
    return [
        "The contact sheet `docs/embedded-model.jpg` shows, from left to right, adapted as the prompts say:",
        "",
        *(f"- {line}" for line in pictures),
        "",
    ]


def _credits(collections: list[tuple[str, str, int]]) -> list[str]:
    return [
        "## Credits: photographs by collection",
        "",
        "None of the photographs is part of the model's folder or of this repository.",
        "",
        "| source | licence | photographs |",
        "|---|---|---|",
        *(f"| {name} | {licence} | {count} |" for name, licence, count in collections),
        "",
    ]
