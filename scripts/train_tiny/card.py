"""The text of MODEL_CARD.md."""

from __future__ import annotations

from typing import Any

from .config import Config
from .styles import STYLES


def _style_table(measured: dict[str, Any]) -> list[str]:
    lines = [
        "| prompt | recognised | latent L1 to the target | of the input, for comparison |",
        "|---|---|---|---|",
    ]
    for name, row in measured["styles"].items():
        lines.append(f"| {name} | {row['recognised']:.0%} | {row['latent_l1']:.3f} | {row['latent_l1_of_input']:.3f} |")
    return lines


def model_card(
    config: Config,
    facts: dict[str, Any],
    measured: dict[str, Any],
    sources: list[tuple[str, str, int]],
    size_mb: float,
) -> str:
    """Markdown: what it is, how it was made, figures, limits, credits."""
    parameters = facts["parameters"]
    lines = [
        f"# {config.version}",
        "",
        "The embedded model of streamdiff: a latent img2img diffusion model for 256x256 video on two CPU cores.",
        "It takes a noised picture latent, the clean latent of the same picture as extra input channels",
        "(InstructPix2Pix order) and a prompt, and predicts v. One to four LCM steps.",
        "",
        f"- UNet {parameters['unet'] / 1e6:.1f} M parameters, text encoder {parameters['text_encoder'] / 1e6:.2f} M, "
        f"autoencoder {parameters['vae'] / 1e6:.2f} M; {size_mb:.1f} MB in fp16.",
        f"- Autoencoder: AutoencoderTiny, f8, {config.vae.latent_channels} latent channels. "
        "Its first two encoder and last two decoder convolutions each fold exactly into one.",
        "- Prompts: "
        + ", ".join(f'"{n}"' for n in STYLES)
        + ", their synonyms (`styles.json`) and free wordings of them.",
        "- The empty prompt gives the photograph back; guidance away from it exaggerates the style.",
        "",
        "## Training",
        "",
        "Made by `scripts/train_tiny` in this repository. Pairs (photograph, the same photograph through a",
        "stylisation filter); all filters are written for this project (`styles.py`).",
        "",
        f"- autoencoder: {facts['vae_minutes']:.0f} minutes",
        f"- UNet and text encoder: {facts['unet_minutes']:.0f} minutes, {facts['pairs']} pairs",
        "- on two cores of a server CPU (AVX-512 bf16), shared with other work",
        "",
        "## Figures, on photographs held out of training",
        "",
        "Autoencoder at 256x256 (PSNR in dB, SSIM):",
        "",
        "| pictures | PSNR | SSIM |",
        "|---|---|---|",
        *(f"| {layer} | {v[0]:.1f} | {v[1]:.3f} |" for layer, v in facts["vae_figures"].items()),
        "",
    ]
    if measured:
        steps, distance = measured["recognised_by_steps"], measured["latent_l1_by_steps"]
        lines += [
            f"Styles, {measured['photographs']} photographs, strength 0.5, one step, after {measured['pairs']} pairs. "
            "*Recognised*: of all styles' targets for the same photograph, the nearest one (in latent space) is the "
            "prompt's; it is not a judgement of people or of a classifier. Contact sheets of held-out photographs were "
            "looked at while the target filters and the styles' shares were chosen, so the figures are not blind.",
            "",
            *_style_table(measured),
            "",
            "Steps 1 / 2 / 4: recognised "
            + " / ".join(f"{steps[s]:.1%}" for s in ("1", "2", "4"))
            + ", latent L1 "
            + " / ".join(f"{distance[s]:.3f}" for s in ("1", "2", "4"))
            + ".",
            "",
            "Change from the input (latent L1) by strength: "
            + ", ".join(f"{s}: {v:.3f}" for s, v in measured["change_by_strength"].items())
            + ".",
            "",
            "Flicker on a still picture with camera noise (sigma 3/255), as a ratio to the input's own: "
            + ", ".join(f"{n} {v:.2f}" for n, v in measured["flicker_ratio"].items())
            + ".",
            "",
        ]
    lines += [
        "## Limits",
        "",
        "Knows its styles and little else: words that name no style are ignored. It restyles what is in the picture;",
        "it does not invent or move things. Trained at 128x128 and 256x256; fine detail (small lettering, far faces)",
        "is softened by the f8 autoencoder. Not trained for temporal calm yet. Strength acts gradually up to about 0.5",
        "and hardly beyond. Further steps keep the style but do not sharpen it: they drift a little from the target.",
        "",
        "## Credits: photographs by collection",
        "",
        "None of the photographs is part of the model's folder or of this repository.",
        "",
        "| source | licence | photographs |",
        "|---|---|---|",
        *(f"| {name} | {licence} | {count} |" for name, licence, count in sources),
        "",
    ]
    return "\n".join(lines)
