"""Keys change what they say they change, within bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apps.controls.keys import HELP, Keys
from streamdiff.config import StreamConfig


class Held:
    def __init__(self) -> None:
        self.config = StreamConfig(prompt="b")
        self.stopped = 0

    def update(self, settings: Mapping[str, Any]) -> StreamConfig:
        self.config = self.config.changed(**settings)
        return self.config

    def figures(self) -> dict[str, Any]:
        return {}

    def messages(self) -> list[str]:
        return []

    def stop(self) -> None:
        self.stopped += 1


def test_keys() -> None:
    held, told = Held(), list[str]()
    keys = Keys(held, ("a", "b", "c"), told.append)
    keys.press("up")
    assert held.config.strength == 0.55 and told == ["strength 0.55"]
    for _ in range(40):
        keys.press("up")
    assert held.config.strength == 1.0
    for _ in range(40):
        keys.press("down")
    assert held.config.strength == 0.05
    keys.press("right")
    keys.press("right")
    assert held.config.prompt == "a"
    keys.press("left")
    assert held.config.prompt == "c"
    keys.press("3")
    assert held.config.steps == 3
    keys.press("s")
    assert held.config.seed == 1
    before = held.config
    for key in ("x", "9", "0", "f5", ""):
        keys.press(key)
    assert held.config == before and not held.stopped
    keys.press("q")
    assert held.stopped == 1


def test_the_first_style_follows_a_prompt_of_ones_own() -> None:
    held = Held()
    held.update({"prompt": "my own"})
    Keys(held, ("a", "b"), lambda _: None).press("right")
    assert held.config.prompt == "a"


def test_the_keys_explain_themselves() -> None:
    told: list[str] = []
    Keys(Held(), (), told.append).press("?")
    assert all(key in told[0] and text in told[0] for key, text in HELP)
