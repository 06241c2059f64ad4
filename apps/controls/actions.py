"""Actions: what keys, OSC, MIDI and HTTP can all do to a running stream, said once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from apps.controls.controlled import Controlled
from apps.controls.presets import Presets
from streamdiff.errors import ConfigError


class Actions:
    """Changes a running stream and tells each change in one line; what is wrong is told, too, and changes nothing.

    Attributes:
        styles: prompts to go through.
        presets: settings by name.
        tell: gets one line for whatever happens.
    """

    def __init__(
        self,
        controlled: Controlled,
        styles: tuple[str, ...] = (),
        presets: Presets | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.controlled, self.styles, self.presets = controlled, styles, presets or Presets()
        self.tell = tell

    def change(self, settings: Mapping[str, Any], told: str | None = None) -> bool:
        """Change settings; whether they were taken.

        Args:
            settings: fields of RunConfig.
            told: the line for it, where it is not each setting with its value; "" for none.
        """
        try:
            config = self.controlled.update(settings)
        except ConfigError as error:
            self.tell(str(error))
            return False
        if told != "":
            self.tell(told or ", ".join(f"{name} {_shown(getattr(config, name))}" for name in settings))
        return True

    def style(self, step: int) -> bool:
        """Go so many styles on or back; from a prompt of one's own to the first or the last."""
        if not self.styles:
            return False
        prompt = self.controlled.config.prompt
        at = self.styles.index(prompt) if prompt in self.styles else -1 if step > 0 else 0
        return self.change({"prompt": self.styles[(at + step) % len(self.styles)]})

    def number(self, number: int) -> bool:
        """The preset of a number from 0, or where there are no presets, the style of that number; else nothing."""
        if self.presets.names:
            return number in range(len(self.presets.names)) and self.preset(self.presets.names[number])
        return number in range(len(self.styles)) and self.change({"prompt": self.styles[number]})

    def preset(self, name: str) -> bool:
        """Everything that a preset says; whether it was taken."""
        try:
            settings = self.presets.settings(name)
        except ConfigError as error:
            self.tell(str(error))
            return False
        return self.change(settings, f"preset {name}")

    def reseed(self) -> bool:
        """Another seed."""
        return self.change({"seed": self.controlled.config.seed + 1})

    def stop(self) -> None:
        """End the run."""
        self.controlled.stop()


def _shown(value: Any) -> str:
    value = getattr(value, "value", value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
