"""Presets by name, read again when the file changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from apps.controls.actions import Actions
from apps.controls.presets import Presets
from streamdiff.errors import ConfigError
from tests.apps.controls.held import Held

TWO = '[night]\nprompt = "neon"\nguidance-scale = 1.5\n[paper]\nprompt = "paper cut"\n'


def written(path: Path, text: str, when: int = 1) -> Path:
    path.write_text(text)
    os.utime(path, (when, when))
    return path


def test_a_preset_changes_what_it_names(tmp_path: Path) -> None:
    held, told = Held(), list[str]()
    actions = Actions(held, ("a", "b"), Presets(written(tmp_path / "p.toml", TWO)), told.append)
    assert actions.presets.names == ("night", "paper")
    assert actions.preset("night") and held.config.prompt == "neon" and held.config.guidance_scale == 1.5
    assert actions.number(1) and held.config.prompt == "paper cut" and held.config.guidance_scale == 1.5
    assert told == ["preset night", "preset paper"]
    assert not actions.number(2) and not actions.number(-1) and not actions.preset("day")
    assert told[-1] == "there is no preset 'day'; there are: night, paper"


def test_without_presets_numbers_are_styles() -> None:
    held = Held()
    assert Actions(held, ("a", "b")).number(0) and held.config.prompt == "a"
    assert not Actions(held, ()).style(1)


def test_a_changed_file_counts_and_a_broken_one_leaves_the_old(tmp_path: Path) -> None:
    path = written(tmp_path / "p.toml", TWO)
    presets = Presets(path)
    written(path, "[night]\nprompt = 'at night'\n", 2)
    assert presets.settings("night") == {"prompt": "at night"}
    written(path, "[night]\nprompt = 'at night'\n[paper]\nprompt = 'paper cut'\n", 3)
    assert presets.names == ("night", "paper")
    written(path, "[night]\nstrength = 7\n", 4)
    with pytest.raises(ConfigError, match="strength"):
        presets.settings("night")
    assert presets.names == ("night", "paper")
    path.unlink()
    with pytest.raises(ConfigError, match="no such file"):
        presets.settings("night")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prompt = 'x'", "prompt stands outside of a preset"),
        ("[a]\nstrenght = 1", r"\[a\].*strenght"),
        ("[a", "not valid TOML"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Presets(written(tmp_path / "p.toml", text))
