"""load_rolling: whatever rolling model the user named, as a RollingModel.

"tiny-rolling" is inside the package; a model of its kind is a folder with ``rolling.json`` (``on_pictures``). Anything
else is Wan2.1-T2V-1.3B in diffusers format, with a released checkpoint on top.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from engines.errors import EngineError
from engines.selection import choose
from engines.torch_engine import DTYPES
from streamdiff.errors import ModelError
from streamdiff.models.components import checked_weights, read_json, shown, user_path
from streamdiff.models.fingerprint import fingerprint
from streamdiff.models.quiet import quiet
from streamdiff.rolling.model import RollingModel
from streamdiff.rolling.on_pictures import is_on_pictures, load_on_pictures
from streamdiff.rolling.pretrained import pretrained
from streamdiff.rolling.prompts import LENGTH, Umt5TextEncoder, Umt5Tokenizer
from streamdiff.rolling.taehv import TinyDecoding, load_taehv
from streamdiff.rolling.transformer import RollingTransformer
from streamdiff.rolling.vae import VideoVae, WanVae
from streamdiff.rolling.weights import fill_transformer, read_checkpoint

TINY = Path(__file__).parents[1] / "models" / "tiny-rolling"
CLASSES = {"transformer": "WanTransformer3DModel", "vae": "AutoencoderKLWan", "text_encoder": "UMT5EncoderModel"}
"""The class that each part must be of."""
FORMAT = 1
"""Raised when the text encoder's wrapper changes what equal weights compute."""


def load_rolling(
    folder: str | Path = "tiny-rolling",
    checkpoint: str | Path | None = None,
    *,
    decoder: str | Path | None = None,
    device: str | None = None,
    precision: torch.dtype | str | None = None,
    engine: str = "auto",
) -> RollingModel:
    """Load a rolling model.

    Args:
        folder: "tiny-rolling", inside the package; a folder with ``rolling.json``; or Wan2.1-T2V-1.3B (or another
            size) in diffusers format: ``transformer/``, ``vae/``, ``text_encoder/`` and ``tokenizer/``.
        checkpoint: released weights of Rolling Forcing, Self-Forcing or Causal-Forcing for the transformer; None takes
            those in the folder. They have terms of their own.
        decoder: a tiny video VAE in TAEHV's layout, for decoding in place of the VAE's own decoder.
        device: torch's name of a device; None takes the best there is.
        precision: of weights, keys and values: "fp32", "bf16" or "fp16", or torch's type; bfloat16 on a GPU and float32
            on a CPU where it is not given.
        engine: what runs the VAE of a model with ``rolling.json``, as ``Stream.from_pretrained`` takes it.

    Raises:
        ModelError: in one line, what is missing or does not fit.
        EngineError: the device cannot be used, or an unknown precision.
    """
    if isinstance(precision, str):
        if precision not in DTYPES:
            raise EngineError(f"precision {precision!r}: the rolling mode has {', '.join(DTYPES)}")
        precision = DTYPES[precision]
    home = TINY if folder == "tiny-rolling" else user_path(folder)
    if home is TINY or is_on_pictures(home):
        for option, given in (("checkpoint", checkpoint), ("decoder", decoder)):
            if given is not None:
                raise ModelError(f"{option} {shown(given)}: that is for Wan2.1; {shown(folder)} has weights of its own")
        if not is_on_pictures(home):
            raise ModelError("tiny-rolling is missing from this installation; install streamdiff again")
        return load_on_pictures(home, str(folder), device=device, precision=precision, engine=engine)
    runtime = choose("torch", device)
    dtype = precision or (torch.float32 if runtime.device.type == "cpu" else torch.bfloat16)
    if not home.is_dir():
        raise ModelError(
            f"the model {shown(folder)} is not a folder; give tiny-rolling, or Wan2.1-T2V-1.3B in diffusers format"
        )
    missing = [part for part in (*CLASSES, "tokenizer") if not (home / part).is_dir()]
    if missing:
        raise ModelError(
            f"{home} has no {' and no '.join(missing)}; give the whole folder of Wan2.1-T2V-1.3B in diffusers format"
        )
    configs = {part: _config(home, part) for part in CLASSES}
    _check_geometry(home, configs)
    text_files, _ = checked_weights(home / "text_encoder")
    # The quick refusals first: the text encoder alone is 11 GB.
    tokenize = Umt5Tokenizer(home / "tokenizer")
    channels = int(configs["vae"]["z_dim"])
    tiny = None if decoder is None else load_taehv(user_path(decoder), channels).to(runtime.device, dtype)
    wan = _transformer(home, configs["transformer"], checkpoint)
    transformer = RollingTransformer(wan, dtype).to(runtime.device)
    vae: VideoVae = WanVae(pretrained(home / "vae", CLASSES["vae"], dtype).to(runtime.device))

    def make_text_encoder() -> Umt5TextEncoder:
        return Umt5TextEncoder(
            pretrained(home / "text_encoder", CLASSES["text_encoder"], dtype), tokenize.padding
        ).eval()

    roles = [(f"text_encoder/{file.name}", file) for file in text_files]
    roles.append(("text_encoder/config.json", home / "text_encoder" / "config.json"))
    return RollingModel(
        name=str(folder),
        key=fingerprint(roles, FORMAT, dtype, tokenize.padding),
        transformer=transformer,
        vae=vae if tiny is None else TinyDecoding(vae, tiny),
        tokenize=tokenize,
        make_text_encoder=make_text_encoder,
        text_length=LENGTH,
    )


def _config(home: Path, part: str) -> dict[str, Any]:
    """A part's configuration, of the right class."""
    config = read_json(home / part / "config.json")
    name = str(config.get("_class_name") or (config.get("architectures") or ["?"])[0])
    if name != CLASSES[part]:
        raise ModelError(f"{home / part} is a {name[:60]}, wanted {CLASSES[part]}; give Wan2.1-T2V in diffusers format")
    return config


def _check_geometry(home: Path, configs: dict[str, dict[str, Any]]) -> None:
    transformer, vae, text = configs["transformer"], configs["vae"], configs["text_encoder"]
    z, stages = vae.get("z_dim", 16), vae.get("temperal_downsample", [False, True, True])
    facts = [
        ("transformer/patch_size", list(transformer.get("patch_size", (1, 2, 2))), [1, 2, 2]),
        ("transformer/image_dim", transformer.get("image_dim"), None),
        ("transformer/added_kv_proj_dim", transformer.get("added_kv_proj_dim"), None),
        ("transformer/in_channels", transformer.get("in_channels", 16), z),
        ("transformer/out_channels", transformer.get("out_channels", 16), z),
        ("transformer/text_dim", transformer.get("text_dim", 4096), text.get("d_model")),
        ("vae/patch_size", vae.get("patch_size"), None),
        ("vae/dim_mult", len(vae.get("dim_mult", (1, 2, 4, 4))), 4),
        ("vae/temperal_downsample", sum(map(bool, stages)), 2),
    ]
    for name, given, wanted in facts:
        if given != wanted:
            raise ModelError(
                f"{home} has another geometry than Wan2.1-T2V: {name} gives {given}, wanted {wanted}; "
                "image-to-video models and Wan 2.2's VAE do not roll"
            )


def _transformer(home: Path, config: dict[str, Any], checkpoint: str | Path | None) -> Any:
    if checkpoint is None:
        return pretrained(home / "transformer", CLASSES["transformer"], torch.float32)
    path = user_path(checkpoint)
    tensors = read_checkpoint(path)
    with quiet():
        from accelerate import init_empty_weights
        from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

        with init_empty_weights(include_buffers=False):
            wan: Any = WanTransformer3DModel.from_config(config)
    fill_transformer(wan, tensors, path)
    return wan
