"""From what a user chose to a RollingStream that is ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.run_config import RunConfig
from apps.sizes import fit_size
from apps.toml import plain_names, read_toml
from streamdiff.errors import ConfigError
from streamdiff.rolling.config import MULTIPLE, RollingConfig

if TYPE_CHECKING:
    from streamdiff.rolling.model import RollingModel
    from streamdiff.rolling.stream import RollingStream

PRECISIONS = ("fp32", "bf16", "fp16")
CHOICES = ("rolling_model", "checkpoint", "decoder", "device", "precision")
"""What may be chosen beside the fields of RollingConfig."""

PICTURE_CHOICES = ("model", "vae", "engine", "lora")
"""What the picture mode may choose beside."""

VAE_ENGINES = ("openvino", "cuda", "torch")
"""Engines that build a VAE, or the UNet that paints, by themselves, for any size, when it is wanted."""


@dataclass(frozen=True)
class RollingChoice:
    """What runs in the rolling mode, and how.

    Attributes:
        model, checkpoint, decoder, device, precision: as ``load_rolling`` takes them, the precision by name.
        settings: fields of RollingConfig; only those that were given.
    """

    model: str = "tiny-rolling"
    checkpoint: str | None = None
    decoder: str | None = None
    device: str | None = None
    precision: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


def choose_rolling(config: Path | None = None, **given: Any) -> RollingChoice:
    """Combine a configuration file with what was given on the command line, and validate it.

    Args:
        config: TOML file.
        given: options by name; None means that it was not given.

    Raises:
        ConfigError: in one line, what is wrong, an option of the other mode among them.
    """
    said: dict[str, Any] = plain_names(read_toml(config)) if config is not None else {}
    # The file may be that of a live run, which has both modes.
    others = {*RunConfig.model_fields, *PICTURE_CHOICES} - {*RollingConfig.model_fields, *CHOICES}
    said = {name: value for name, value in said.items() if name not in others}
    if said.get("precision") in ("int8", "fp8"):  # of the picture engines alone
        del said["precision"]
    said |= {name: value for name, value in given.items() if value not in (None, [])}
    named = {name: said.pop(name) for name in CHOICES if name in said}
    foreign = sorted(set(said) - set(RollingConfig.model_fields))
    if foreign:
        known = ", ".join([*RollingConfig.model_fields, *CHOICES])
        raise ConfigError(f"{foreign[0]} is nothing that --mode rolling knows (known: {known})")
    for name, value in named.items():
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{name} = {value!r}: must be text")
    if named.get("precision", "fp32") not in PRECISIONS:
        raise ConfigError(f"precision = {named['precision']!r}: the rolling mode has {', '.join(PRECISIONS)}")
    RollingConfig.make(**said)
    model = named.pop("rolling_model", RollingChoice.model)
    return RollingChoice(model, **named, settings=said)


def load_choice(choice: RollingChoice, engine: str = "auto") -> RollingModel:
    """Load the model.

    Args:
        choice: what the user chose.
        engine: what runs the VAE, and the UNet that paints, of a model on pictures, where it can.

    Raises:
        ModelError, EngineError: in one line, what to do.
    """
    from streamdiff.rolling import load_rolling

    return load_rolling(
        choice.model,
        choice.checkpoint,
        decoder=choice.decoder,
        device=choice.device,
        precision=choice.precision,
        engine=engine if engine in VAE_ENGINES else "auto",
    )


def open_rolling(choice: RollingChoice, source: tuple[int, int]) -> RollingStream:
    """Load the model and prepare the stream.

    Args:
        choice: what the user chose.
        source: width and height of what will be pushed; sides the user left open follow its aspect.

    Raises:
        ConfigError, ModelError, EngineError: in one line, what to do.
    """
    from streamdiff.rolling import RollingStream

    model = load_choice(choice)
    default = model.default_size
    width, height = choice.settings.get("width"), choice.settings.get("height")
    size = fit_size(source, default[0] * default[1], width, height, step=MULTIPLE)
    return RollingStream(model, model.config(**{**choice.settings, "width": size[0], "height": size[1]}))
