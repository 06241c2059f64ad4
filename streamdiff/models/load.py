"""load_model: whatever the user named, as a Model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from streamdiff.errors import ModelError
from streamdiff.models import lora as loras
from streamdiff.models.base import Model, Prediction, Style
from streamdiff.models.betas import alphas_cumprod
from streamdiff.models.components import Components, FolderComponents, load_module, read_json, weight_files
from streamdiff.models.fingerprint import fingerprint
from streamdiff.models.hub import HUB_ID, download
from streamdiff.models.lora import LoraSpec
from streamdiff.models.single_file import SingleFileComponents
from streamdiff.models.tokenizer import ClipTokenizer
from streamdiff.models.wrappers import Decoder, Encoder, TextEncoder, Unet

TINY = Path(__file__).parent / "tiny"
FORMAT = 1
"""Raised when the wrappers change what equal weights compute."""


def load_model(
    source: str | Path = "tiny",
    *,
    lora: Sequence[LoraSpec | str] = (),
    vae: str | Path | None = None,
    revision: str | None = None,
    config: str | Path | None = None,
) -> Model:
    """Load a model: facts and fingerprints now, weights when an engine asks for them.

    Args:
        source: "tiny", a diffusers folder, a ``.safetensors`` checkpoint, or a hub id "owner/name".
        lora: LoRA files, "FILE" or "FILE:SCALE", fused in this order.
        vae: another VAE in place of the model's own: a folder or a hub id, such as TAESD.
        revision: of a hub id.
        config: for a checkpoint, the diffusers folder with its configurations and tokenizer.

    Raises:
        ModelError: in one line, what is wrong and what to do.
    """
    components = _components(str(source), revision, None if config is None else Path(config))
    specs = tuple(LoraSpec.parse(item) for item in lora)
    for spec in specs:
        loras.check(spec, components)
    vae_folder = None if vae is None else _vae_folder(str(vae))
    unet = components.config("unet")
    vae_config = components.config("vae") if vae_folder is None else read_json(vae_folder / "config.json")
    text = components.config("text_encoder")
    scheduler = components.config("scheduler")
    channels = int(vae_config.get("latent_channels", 4))
    conditioned = _conditioned(unet, channels, str(source))
    products = alphas_cumprod(scheduler)
    scaling = float(vae_config.get("scaling_factor", 1.0 if _is_tiny_vae(vae_config) else 0.18215))

    def make_vae() -> nn.Module:
        return components.module("vae") if vae_folder is None else load_module(vae_folder)

    def make_unet() -> nn.Module:
        module = loras.fused(components, specs)[0] if specs else components.module("unet")
        return Unet(module, len(products), scaling if conditioned else None)

    def make_text_encoder() -> nn.Module:
        return TextEncoder(loras.fused(components, specs)[1] if specs else components.module("text_encoder"))

    length = int(text.get("max_position_embeddings", 77))
    sample_size = unet.get("sample_size") or 64
    size = int(sample_size if isinstance(sample_size, int) else max(sample_size)) * 8
    vae_files = [] if vae_folder is None else [vae_folder / "config.json", *weight_files(vae_folder)]
    files = [*components.files(), *vae_files, *(spec.path for spec in specs)]
    return Model(
        name=str(source),
        key=fingerprint(files, FORMAT, [spec.scale for spec in specs], [spec.path.name for spec in specs]),
        prediction=_prediction(scheduler),
        alphas_cumprod=products,
        latent_channels=channels,
        image_conditioned=conditioned,
        text_length=length,
        text_width=int(text["hidden_size"]),
        tokenize=ClipTokenizer(components.folder / "tokenizer", length),
        make_encoder=lambda: Encoder(make_vae()),
        make_decoder=lambda: Decoder(make_vae()),
        make_unet=make_unet,
        make_text_encoder=make_text_encoder,
        styles=_styles(components.folder),
        default_size=(size, size),
    )


def _components(source: str, revision: str | None, config: Path | None) -> Components:
    if source == "tiny":
        if not (TINY / "model_index.json").is_file():
            raise ModelError("the embedded model is missing from this installation; install streamdiff again")
        return FolderComponents(TINY)
    path = Path(source).expanduser()
    if path.is_dir():
        return FolderComponents(path)
    if path.suffix in (".ckpt", ".pt", ".pth", ".bin"):
        raise ModelError(f"{source} is a pickle, which may run code when it is read; convert it to .safetensors first")
    if path.is_file() or path.suffix == ".safetensors":
        if not path.is_file():
            raise ModelError(f"the checkpoint {source} is not there; check the path")
        return SingleFileComponents(path, config)
    if HUB_ID.fullmatch(source) and not source.startswith((".", "~")):
        return FolderComponents(download(source, revision))
    raise ModelError(
        f"the model {source!r} is not there; give tiny, a diffusers folder, a .safetensors file, or a hub id owner/name"
    )


def _vae_folder(vae: str) -> Path:
    path = Path(vae).expanduser()
    if not path.is_dir():
        if path.is_file() or not HUB_ID.fullmatch(vae) or vae.startswith((".", "~")):
            raise ModelError(f"the VAE {vae!r} is not a folder; give a folder with its config.json, or a hub id")
        path = download(vae, None)
    inner = path / "vae"
    return path if (path / "config.json").is_file() or not inner.is_dir() else inner


def _is_tiny_vae(config: dict[str, Any]) -> bool:
    return config.get("_class_name") == "AutoencoderTiny"


def _conditioned(unet: dict[str, Any], channels: int, source: str) -> bool:
    """Whether the UNet takes the clean latent too.

    Raises:
        ModelError: a UNet that takes something else, or another VAE's latents.
    """
    if unet.get("addition_embed_type") or unet.get("class_embed_type") or unet.get("num_class_embeds"):
        raise ModelError(
            f"{source}: a UNet with added or class conditioning (SDXL) is not supported yet; SD 1.x and 2.x are"
        )
    given, out = int(unet.get("in_channels", 4)), int(unet.get("out_channels", 4))
    if out != channels or given not in (channels, 2 * channels):
        raise ModelError(
            f"{source}: the UNet takes {given} and gives {out} channels, the VAE has {channels}; an image-to-image or "
            "InstructPix2Pix model takes as many as the VAE has, or twice as many"
        )
    return given == 2 * channels


def _prediction(scheduler: dict[str, Any]) -> Prediction:
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction"):
        raise ModelError(
            f"the scheduler's prediction_type {prediction!r} is not supported; epsilon and v_prediction are"
        )
    return prediction


def _styles(folder: Path) -> tuple[Style, ...]:
    path = folder / "styles.json"
    if not path.is_file():
        return ()
    return tuple(
        Style(str(item["name"]), str(item["prompt"]), tuple(item.get("synonyms", ())))
        for item in read_json(path)["styles"]
    )
