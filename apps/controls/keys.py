"""Keys: what they change in a running stream."""

from __future__ import annotations

from collections.abc import Callable

from apps.controls.actions import Actions
from streamdiff.config import MAX_STEPS

STRENGTH_STEP = 0.05

HELP = (
    ("up, down", "strength"),
    ("left, right", "the previous, the next style"),
    ("1 to 4", "steps"),
    ("F1 to F10", "a preset, or a style"),
    ("s", "another seed"),
    ("?", "these keys"),
    ("q, escape", "quit"),
)


class Keys:
    """Turns keys into changes."""

    def __init__(self, actions: Actions, tell: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            actions: do what the keys mean, and tell each change.
            tell: gets the help, one line.
        """
        self._actions, self._tell = actions, tell

    def press(self, key: str) -> None:
        """Do what a key means; an unknown one does nothing."""
        config = self._actions.controlled.config
        if key in ("q", "escape"):
            self._actions.stop()
        elif key == "?":
            self._tell("; ".join(f"{keys}: {text}" for keys, text in HELP))
        elif key in ("up", "down"):
            wanted = config.strength + (STRENGTH_STEP if key == "up" else -STRENGTH_STEP)
            self._actions.change({"strength": round(min(1.0, max(STRENGTH_STEP, wanted)), 2)})
        elif key in ("left", "right"):
            self._actions.style(1 if key == "right" else -1)
        elif key.isdecimal() and 1 <= int(key) <= min(4, MAX_STEPS):
            self._actions.change({"steps": int(key), "timesteps": None}, f"steps {int(key)}")
        elif key.startswith("f") and key[1:].isdecimal():
            self._actions.number(int(key[1:]) - 1)
        elif key == "s":
            self._actions.reseed()
