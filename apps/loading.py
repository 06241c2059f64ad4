"""From what a user chose to a Stream that is ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from apps.sizes import fit_size
from streamdiff.config import StreamConfig

if TYPE_CHECKING:
    from streamdiff.stream import Stream


@dataclass(frozen=True)
class Choice:
    """What runs, and how.

    Attributes:
        model, vae, engine, device, precision, lora: as ``Stream.from_pretrained`` takes them.
        settings: fields of StreamConfig; only those that were given.
    """

    model: str = "tiny"
    vae: str | None = None
    engine: str = "auto"
    device: str | None = None
    precision: str | None = None
    lora: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def check(self) -> StreamConfig:
        """Validate the settings without loading anything.

        Raises:
            ConfigError: in one line.
        """
        return StreamConfig.make(**self.settings)


def open_stream(choice: Choice, source: tuple[int, int] | None = None) -> Stream:
    """Load the model and prepare the stream.

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
    settings = {**choice.settings, "width": size[0], "height": size[1]}
    return Stream.from_pretrained(
        model, engine=choice.engine, device=choice.device, precision=choice.precision, **settings
    )
