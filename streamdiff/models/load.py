"""load_model: whatever the user named, as a Model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from streamdiff.errors import ModelError
from streamdiff.models import lora as loras
from streamdiff.models.base import Model
from streamdiff.models.components import Components, FolderComponents, kind_of, shown, user_path
from streamdiff.models.facts import facts_of, read_styles
from streamdiff.models.fingerprint import check_digests, fingerprint
from streamdiff.models.hub import HUB_ID, download
from streamdiff.models.lora import LoraSpec
from streamdiff.models.single_file import SingleFileComponents
from streamdiff.models.split import Conditioner, Denoiser, Shallow
from streamdiff.models.tokenizer import ClipTokenizer
from streamdiff.models.vae import find_vae
from streamdiff.models.wrappers import Decoder, Encoder, TextEncoder

TINY = Path(__file__).parent / "tiny"
FORMAT = 2
"""Raised when the wrappers change what equal weights compute."""


def load_model(
    source: str | Path = "tiny",
    *,
    lora: Sequence[LoraSpec | str | Path] | LoraSpec | str | Path = (),
    vae: str | Path | None = None,
    revision: str | None = None,
    config: str | Path | None = None,
) -> Model:
    """Load a model: facts and fingerprints now, weights when an engine asks for them.

    Args:
        source: "tiny", a diffusers folder, a ``.safetensors`` checkpoint, or a hub id "owner/name".
        lora: a LoRA file, "FILE" or "FILE:SCALE", or several, fused in this order.
        vae: another VAE in place of the model's own: a folder, a file in the original layout, or a hub id, such as
            TAESD's.
        revision: of a hub id.
        config: for a checkpoint, the diffusers folder with its configurations and tokenizer.

    Raises:
        ModelError: in one line, what is wrong and what to do.
    """
    components = _components(source, revision, None if config is None else user_path(config))
    other = None if vae is None else find_vae(vae)
    facts = facts_of(components, None if other is None else other.config, shown(source))
    given = [lora] if isinstance(lora, (str, Path, LoraSpec)) else lora
    specs = tuple(LoraSpec.parse(item) for item in given)
    for spec in specs:
        loras.check(spec, components)

    def make_vae() -> nn.Module:
        return components.module("vae") if other is None else other.module()

    def make_unet() -> nn.Module:
        return loras.fused(components, specs)[0] if specs else components.module("unet")

    def make_text_encoder() -> nn.Module:
        return TextEncoder(loras.fused(components, specs)[1] if specs else components.module("text_encoder")).eval()

    # Each file with its scale and its place in the order, so that no two settings can be taken for one another.
    lora_files = [(f"lora {i} at {spec.scale!r}", spec.path) for i, spec in enumerate(specs)]
    vae_files = [] if other is None else other.files
    styles, moods = read_styles(components.folder)
    return Model(
        name=str(source),
        key=fingerprint([*components.files(), *vae_files, *lora_files], FORMAT),
        prediction=facts.prediction,
        alphas_cumprod=facts.alphas_cumprod,
        latent_channels=facts.latent_channels,
        image_conditioned=facts.image_conditioned,
        text_length=facts.text_length,
        text_width=facts.text_width,
        tokenize=ClipTokenizer(components.tokenizer, facts.text_length),
        make_encoder=lambda: Encoder(make_vae()).eval(),
        make_decoder=lambda: Decoder(make_vae()).eval(),
        make_text_encoder=make_text_encoder,
        make_conditioner=lambda: Conditioner(make_unet(), len(facts.alphas_cumprod)).eval(),
        make_denoiser=lambda deep: Denoiser(make_unet(), facts.text_length, facts.condition_scale, deep=deep).eval(),
        make_shallow=lambda: Shallow(make_unet(), facts.text_length, facts.condition_scale).eval(),
        deep_channels=facts.deep_channels,
        styles=styles,
        moods=moods,
        default_size=facts.default_size,
    )


def _components(source: str | Path, revision: str | None, config: Path | None) -> Components:
    if source == "tiny":
        if not (TINY / "model_index.json").is_file():
            raise ModelError("the embedded model is missing from this installation; install streamdiff again")
        check_digests(TINY)
        return FolderComponents(TINY)
    path, name = user_path(source), str(source)
    kind = kind_of(path) if name.strip() else None
    if kind == "folder":
        return FolderComponents(path)
    if path.suffix.lower() in (".ckpt", ".pt", ".pth", ".bin"):
        raise ModelError(
            f"{shown(name)} is a pickle, which may run code when it is read; convert it to .safetensors first"
        )
    if kind == "file":
        return SingleFileComponents(path, config)
    if path.suffix == ".safetensors":
        raise ModelError(f"the checkpoint {shown(name)} is not there; check the path")
    if HUB_ID.fullmatch(name) and not name.startswith((".", "~")):
        return FolderComponents(download(name, revision))
    raise ModelError(
        f"the model {shown(name)} is not there; give tiny, a diffusers folder, a .safetensors file, or a hub id "
        "owner/name"
    )
