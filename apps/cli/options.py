"""Options that several commands share, and the configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from apps.loading import Choice
from apps.run_config import Mode as VideoMode
from apps.run_config import RunConfig
from apps.toml import plain_names, read_toml
from streamdiff.config import Guidance
from streamdiff.errors import ConfigError

CHOICES = ("model", "vae", "engine", "device", "precision", "lora", "rolling_model", "checkpoint", "decoder")
"""What a configuration file may say beside the fields of RunConfig."""


_STREAM = "What it should look like"
_MODEL = "What runs it"
_OWN_SIZE = "the model's own; of run in the input's shape"


def _help(name: str) -> str:
    field = RunConfig.model_fields[name]
    # What may be left out (X | None) keeps its description one level further in.
    inner = (getattr(part, "__metadata__", (None,))[0] for part in getattr(field.annotation, "__args__", ()))
    return field.description or next((found.description for found in inner if found is not None), "")


def _setting(name: str, **more: Any) -> Any:
    """An option of the stream's settings: None where it is not given, as a file may say otherwise than the default."""
    default = RunConfig.model_fields[name].default
    shown = bool(default) and str(getattr(default, "value", default))
    settings = {"help": _help(name), "rich_help_panel": _STREAM, "show_default": shown, **more}
    return typer.Option(f"--{name.replace('_', '-')}", **settings)


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="tiny (inside the package), a diffusers folder, a .safetensors file, or a hub id.",
        rich_help_panel=_MODEL,
        show_default="tiny",
    ),
]
Vae = Annotated[
    str | None, typer.Option("--vae", help="Another VAE: a folder, file or hub id.", rich_help_panel=_MODEL)
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="auto, openvino, cuda, onnxruntime, torch, tensorrt or tensorrt-rtx.",
        rich_help_panel=_MODEL,
        show_default="auto",
    ),
]
Device = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda, cuda:1 or mps.", rich_help_panel=_MODEL, show_default="best")
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="fp32, bf16, fp16, int8 or fp8, as the engine can; the last two after streamdiff build.",
        rich_help_panel=_MODEL,
        show_default="best",
    ),
]
Lora = Annotated[
    list[str] | None,
    typer.Option("--lora", metavar="FILE:SCALE", help="A LoRA; may be given again.", rich_help_panel=_MODEL),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML of settings and choices of models by these names; what stands on the command line wins.",
        rich_help_panel=_MODEL,
    ),
]
Mode = Annotated[
    VideoMode | None,
    typer.Option("--mode", help=_help("mode"), show_default="stream"),
]
RollingModel = Annotated[
    str | None,
    typer.Option(
        "--rolling-model",
        metavar="MODEL",
        help="What runs the rolling mode: tiny-rolling (inside the package), or a folder, such as Wan2.1-T2V-1.3B's.",
        rich_help_panel=_MODEL,
        show_default="tiny-rolling",
    ),
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="FILE",
        help="Rolling: released weights over the model's transformer.",
        rich_help_panel=_MODEL,
    ),
]
Decoder = Annotated[
    str | None,
    typer.Option(
        "--decoder", metavar="FILE", help="Rolling: a tiny video VAE (TAEHV) for decoding.", rich_help_panel=_MODEL
    ),
]
Level = Annotated[
    int | None,
    typer.Option(
        "--level",
        help="Rolling: 1 is the freest, 4 keeps most of the input.",
        rich_help_panel=_STREAM,
        show_default="3",
    ),
]
Timeline = Annotated[
    Path | None,
    typer.Option(
        "--timeline",
        metavar="FILE",
        help="TOML: prompts and settings by time, with travels between them; see docs/live.md.",
        rich_help_panel=_STREAM,
    ),
]
Prompt = Annotated[str | None, _setting("prompt")]
SecondPrompt = Annotated[str | None, _setting("second_prompt")]
Blend = Annotated[float | None, _setting("blend")]
NegativePrompt = Annotated[str | None, _setting("negative_prompt")]
Strength = Annotated[float | None, _setting("strength")]
Steps = Annotated[int | None, _setting("steps")]
Timesteps = Annotated[str | None, _setting("timesteps", metavar="T,T,…")]
GuidanceMode = Annotated[Guidance | None, _setting("guidance")]
GuidanceScale = Annotated[float | None, _setting("guidance_scale")]
Delta = Annotated[float | None, _setting("delta")]
Seed = Annotated[int | None, _setting("seed")]
Width = Annotated[int | None, _setting("width", show_default=_OWN_SIZE)]
Height = Annotated[int | None, _setting("height", show_default=_OWN_SIZE)]
FrameBufferSize = Annotated[int | None, _setting("frame_buffer_size")]
SimilarityThreshold = Annotated[float | None, _setting("similarity_threshold")]
ReuseEvery = Annotated[int | None, _setting("reuse_every")]
MaxSkip = Annotated[int | None, _setting("max_skip")]
Calm = Annotated[float | None, _setting("calm")]


def choose(config: Path | None = None, **given: Any) -> Choice:
    """Combine a configuration file with what was given on the command line, and validate it.

    Args:
        config: TOML file.
        given: options by name; None means that it was not given.

    Raises:
        ConfigError: in one line, what is wrong with them.
    """
    said: dict[str, Any] = plain_names(read_toml(config)) if config is not None else {}
    said.update({name: value for name, value in given.items() if value is not None and value != []})
    if isinstance(said.get("timesteps"), str):
        said["timesteps"] = _numbers(said["timesteps"])
    named = {name: said.pop(name) for name in CHOICES if name in said}
    lora = named.pop("lora", ())
    lora = (lora,) if isinstance(lora, str) else tuple(lora) if isinstance(lora, (list, tuple)) else (lora,)
    for name, value in [*named.items(), *(("lora", entry) for entry in lora)]:
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{name} = {value!r}: must be text")
    choice = Choice(**named, lora=lora, settings=said)
    try:
        choice.check()
    except ConfigError as error:
        raise ConfigError(f"{config}: {error}" if config is not None else str(error)) from None
    return choice


def mode_of(config: Path | None, given: VideoMode | None) -> VideoMode:
    """The mode that was given, or that a configuration file names.

    Raises:
        ConfigError: the file cannot be read, or its mode is none.
    """
    if given is not None or config is None:
        return given or VideoMode.stream
    said = {name: value for name, value in plain_names(read_toml(config)).items() if name == "mode"}
    try:
        return RunConfig.make(**said).mode
    except ConfigError as error:
        raise ConfigError(f"{config}: {error}") from None


def size(text: str) -> tuple[int, int]:
    """ "256x256" as two numbers.

    Raises:
        ConfigError: something else.
    """
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise ConfigError(f"size = {text!r}: two numbers with an x between them, such as 256x256") from None
    return width, height


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"timesteps = {text!r}: whole numbers with commas between them, such as 700,300") from None
