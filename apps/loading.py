"""From what a user chose to a stream that is ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from apps.run_config import Mode, RunConfig
from apps.sizes import fit_size

if TYPE_CHECKING:
    from apps.modes import ModalStream, SharedRolling
    from streamdiff.stream import Stream


@dataclass(frozen=True)
class Choice:
    """What runs, and how.

    Attributes:
        model, vae, engine, device, precision, lora: as ``Stream.from_pretrained`` takes them.
        rolling_model, checkpoint, decoder: as ``load_rolling`` takes them, for the rolling mode.
        settings: fields of RunConfig; only those that were given.
    """

    model: str = "tiny"
    vae: str | None = None
    engine: str = "auto"
    device: str | None = None
    precision: str | None = None
    lora: tuple[str, ...] = ()
    rolling_model: str = "tiny-rolling"
    checkpoint: str | None = None
    decoder: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def check(self) -> RunConfig:
        """Validate the settings without loading anything.

        Raises:
            ConfigError: in one line.
        """
        return RunConfig.make(**self.settings)


def open_stream(choice: Choice, source: tuple[int, int] | None = None) -> Stream:
    """Load the picture model and prepare its stream.

    Args:
        choice: what the user chose.
        source: width and height of what will be pushed; sides the user left open follow its aspect.

    Raises:
        ConfigError, ModelError, EngineError: in one line, what to do.
    """
    from engines import choose
    from streamdiff import Stream, load_model

    choice.check()
    # An engine that cannot run is known before the model is read.
    choose(choice.engine, choice.device, choice.precision)
    model = load_model(choice.model, lora=choice.lora, vae=choice.vae)
    width, height = choice.settings.get("width"), choice.settings.get("height")
    default = model.default_size
    size = fit_size(source or default, default[0] * default[1], width, height)
    settings = {name: value for name, value in choice.settings.items() if name != "mode"}
    settings |= {"width": size[0], "height": size[1]}
    return Stream.from_pretrained(
        model, engine=choice.engine, device=choice.device, precision=choice.precision, **settings
    )


def open_run(
    choice: Choice, rolling: SharedRolling | None = None, source: tuple[int, int] | None = None
) -> ModalStream:
    """Load the picture model, and the rolling one where the run begins with it, and prepare a stream of both modes.

    Args:
        choice: what the user chose.
        rolling: the rolling model, where it is shared with others.
        source: width and height of what will be pushed: the output has its shape where no size was chosen.

    Raises:
        ConfigError, ModelError, EngineError: in one line, what to do.
    """
    from apps.modes import ModalStream

    rolling = rolling or rolling_of(choice)
    wanted = choice.check()
    if wanted.mode is Mode.stream:
        pictures = open_stream(choice, source)
        return ModalStream(pictures, RunConfig.make(**dict(pictures.config)), rolling)
    # The size is that of the output: the picture stream is made for it when it is its turn, if it ever is.
    sides = {name: value for name, value in choice.settings.items() if name in ("width", "height")}
    others = {name: value for name, value in choice.settings.items() if name not in sides}
    pictures = open_stream(replace(choice, settings=others))
    default = pictures.model.default_size
    width, height = fit_size(source or default, default[0] * default[1], sides.get("width"), sides.get("height"))
    config = RunConfig.make(**{**dict(pictures.config), "mode": wanted.mode, "width": width, "height": height})
    return ModalStream(pictures, config, rolling)


def rolling_of(choice: Choice) -> SharedRolling:
    """The rolling model that was chosen, loaded when it is first wanted."""
    from apps.modes import SharedRolling
    from apps.rolling import PRECISIONS, RollingChoice, load_choice

    precision = choice.precision if choice.precision in PRECISIONS else None  # int8 is the picture model's alone
    chosen = RollingChoice(choice.rolling_model, choice.checkpoint, choice.decoder, choice.device, precision)
    return SharedRolling(lambda: load_choice(chosen, choice.engine))
