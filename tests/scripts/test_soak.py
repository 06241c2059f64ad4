"""The soak's account: it finds a frame that is missing, and changes are such that most of them can be."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

from scripts.soak import random_settings, unaccounted
from streamdiff.config import StreamConfig
from streamdiff.errors import ConfigError

FIGURES: dict[str, Any] = {
    "source": {"read": 100},
    "model": {"frames_in": 100, "frames_out": 90, "dropped_in": 6, "dropped_out": 3, "failed": 1},
    "sinks": [{"name": "sink 1", "delivered": 80, "overtaken": 4, "lost": 6}],
}


def test_an_account_that_adds_up_and_every_one_that_does_not() -> None:
    assert not any(unaccounted(FIGURES, 100).values())
    assert unaccounted(FIGURES, 101)["never read"] == 1
    for place, name, stage in (
        (("source",), "read", "between source and model"),
        (("model",), "failed", "in the model"),
        (("sinks", 0), "lost", "before sink 1"),
    ):
        wrong = copy.deepcopy(FIGURES)
        part: Any = wrong
        for key in place:
            part = part[key]
        part[name] -= 1
        assert unaccounted(wrong, wrong["source"]["read"])[stage] == (-1 if stage.startswith("between") else 1)


def test_random_changes_are_mostly_allowed() -> None:
    random, refused = Random(0), 0
    config = StreamConfig()
    for _ in range(500):
        try:
            config = config.changed(**random_settings(random, ("a", "b")))
        except ConfigError:
            refused += 1
    assert 5 < refused < 150
