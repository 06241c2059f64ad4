"""Keys: what they change in a running stream."""

from __future__ import annotations

from collections.abc import Callable

from apps.controls.controlled import Controlled
from streamdiff.config import MAX_STEPS
from streamdiff.errors import ConfigError

STRENGTH_STEP = 0.05

HELP = (
    ("up, down", "strength"),
    ("left, right", "the previous, the next style"),
    ("1 to 4", "steps"),
    ("s", "another seed"),
    ("?", "these keys"),
    ("q, escape", "quit"),
)


class Keys:
    """Turns keys into changes."""

    def __init__(self, controlled: Controlled, styles: tuple[str, ...], tell: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            controlled: what is steered.
            styles: prompts to go through.
            tell: gets one line for every change.
        """
        self._controlled, self._styles, self._tell = controlled, styles, tell

    def press(self, key: str) -> None:
        """Do what a key means; an unknown one does nothing."""
        try:
            changed = self._change(key)
        except ConfigError as error:
            self._tell(str(error))
            return
        if changed:
            self._tell(changed)

    def _change(self, key: str) -> str | None:
        config = self._controlled.config
        if key in ("q", "escape"):
            self._controlled.stop()
            return None
        if key == "?":
            return "; ".join(f"{keys}: {text}" for keys, text in HELP)
        if key in ("up", "down"):
            wanted = config.strength + (STRENGTH_STEP if key == "up" else -STRENGTH_STEP)
            strength = round(min(1.0, max(STRENGTH_STEP, wanted)), 2)
            return f"strength {self._controlled.update({'strength': strength}).strength:g}"
        if key in ("left", "right") and self._styles:
            at = self._styles.index(config.prompt) if config.prompt in self._styles else -1 if key == "right" else 0
            prompt = self._styles[(at + (1 if key == "right" else -1)) % len(self._styles)]
            return f"prompt {self._controlled.update({'prompt': prompt}).prompt}"
        if key.isdecimal() and 1 <= int(key) <= min(4, MAX_STEPS):
            return f"steps {self._controlled.update({'steps': int(key), 'timesteps': None}).steps}"
        if key == "s":
            return f"seed {self._controlled.update({'seed': config.seed + 1}).seed}"
        return None
