"""Which settings hold when, and the way from one to the next."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.controls.actions import Actions
from apps.controls.timeline import Player, Timeline, Travel
from streamdiff.config import StreamConfig
from streamdiff.errors import ConfigError
from tests.apps.controls.held import Held, soon

FILE = """
loop = 20
[[point]]
at = 0
travel = 2
prompt = "a"
strength = 0.4
[[point]]
at = 10
travel = 4
prompt = "b"
strength = 0.8
seed = 5
"""


def read(path: Path, text: str) -> Timeline:
    path.write_text(text)
    return Timeline.read(path)


def test_points_and_travels(tmp_path: Path) -> None:
    line = read(tmp_path / "t.toml", FILE)
    still = {"second_prompt": "", "blend": 0.0}
    assert line.settings(0) == line.settings(5.9) == {"prompt": "a", "strength": 0.4, **still}
    half = line.settings(8)
    assert half["prompt"] == "a" and half["second_prompt"] == "b" and half["blend"] == 0.5
    assert half["strength"] == pytest.approx(0.6) and "seed" not in half
    assert line.settings(10) == line.settings(17) == {"prompt": "b", "strength": 0.8, "seed": 5, **still}
    back = line.settings(19)
    assert (back["prompt"], back["second_prompt"], back["blend"]) == ("b", "a", 0.5)
    assert line.settings(20) == line.settings(0) and line.settings(48) == pytest.approx(half)


def test_without_loop_the_last_point_holds(tmp_path: Path) -> None:
    line = read(tmp_path / "t.toml", "[[point]]\nat = 3\nprompt = 'a'\n[[point]]\nat = 5\nstrength = 0.9\n")
    assert line.settings(2.9) == {}
    assert line.settings(1e6)["prompt"] == "a" and line.settings(1e6)["strength"] == 0.9


@given(
    gaps=st.lists(st.tuples(st.floats(0.1, 30), st.floats(0, 1)), min_size=1, max_size=6),
    strengths=st.lists(st.floats(0.05, 1), min_size=6, max_size=6),
    loops=st.booleans(),
    seconds=st.floats(0, 500),
)
def test_every_moment_is_valid_and_between_its_points(
    gaps: list[tuple[float, float]], strengths: list[float], loops: bool, seconds: float
) -> None:
    from apps.controls.timeline import Point

    points, at = list[Point](), 0.0
    for i, (gap, share) in enumerate(gaps):
        points.append(Point(at, share * gap if i else 0.0, {"prompt": str(i), "strength": strengths[i]}))
        at += gap
        points[-1] = Point(points[-1].at, min(points[-1].travel, points[-1].at - (points[-2].at if i else 0)),
                           points[-1].settings)  # fmt: skip
    line = Timeline(points, at if loops else None)
    settings = line.settings(seconds)
    StreamConfig.make(**settings)
    used = strengths[: len(gaps)]
    assert min(used) - 1e-9 <= settings["strength"] <= max(used) + 1e-9


def test_what_no_point_has_named_yet_is_as_it_was_before_the_first(tmp_path: Path) -> None:
    line = read(
        tmp_path / "t.toml",
        "loop = 30\n[[point]]\nat = 0\nprompt = 'x'\n[[point]]\nat = 20\ntravel = 10\nstrength = 0.9\n",
    )
    player = Player(line, {**dict(StreamConfig()), "strength": 0.5})
    assert player.changes(5) == {"prompt": "x", "strength": 0.5, "second_prompt": "", "blend": 0.0}
    assert player.changes(15) == {"strength": pytest.approx(0.7)}
    assert player.changes(25) == {"strength": 0.9}
    assert player.changes(31) == {"strength": 0.5}  # the second round is as the first


def test_it_plays_and_leaves_alone_what_it_does_not_name(tmp_path: Path) -> None:
    line = read(
        tmp_path / "t.toml", "[[point]]\nat = 0\nprompt = 'x'\n[[point]]\nat = 0.6\ntravel = 0.4\nprompt = 'y'\n"
    )
    held = Held()
    with Travel(line, Actions(held)):
        assert soon(lambda: held.config.prompt == "x")
        held.update({"strength": 0.9})
        assert soon(lambda: held.config.prompt == "y")
    blends = [change["blend"] for change in held.changes if change.get("blend")]
    assert blends == sorted(blends) and len(blends) >= 2
    assert held.config.strength == 0.9 and held.config.blend == 0
    count = len(held.changes)
    assert not soon(lambda: len(held.changes) > count, 0.3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no .*point"),
        ("point = 3", "no .*point"),
        ("tempo = 1\n[[point]]\nat = 0", "tempo is not known"),
        ("[[point]]\nprompt = 'a'", "point 1: at: Field required"),
        ("[[point]]\nat = 0\n[[point]]\nat = 0", "point 2: must lie behind point 1"),
        ("[[point]]\nat = 0\n[[point]]\nat = 5\ntravel = 6", "point 2: must lie behind point 1"),
        ("[[point]]\nat = 3\ntravel = 2", "point 1: its travel"),
        ("[[point]]\nat = 0\nblend = 0.5", "blend: the timeline uses it"),
        ("[[point]]\nat = 0\nstrength = 5", "point 1: .*strength"),
        ("loop = 3\n[[point]]\nat = 4", "loop = 3"),
        ("loop = 9\n[[point]]\nat = 4", "point 1 begins at = 0"),
        ("loop = 'x'\n[[point]]\nat = 0", "loop = 'x'"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read(tmp_path / "t.toml", text)
