"""Timeline: a TOML file that says which settings hold from when, and how long the way there takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from apps.controls.actions import Actions
from apps.run_config import RunConfig
from apps.toml import plain_names, read_toml
from streamdiff.errors import ConfigError

TRAVELS = ("strength", "guidance_scale", "delta", "similarity_threshold", "calm")
"""Settings that move evenly; all others change when their time has come."""

OWN = ("second_prompt", "blend")
"""What the timeline itself uses to travel between two prompts."""

TICK = 0.1
"""Seconds between two steps of a travel."""


class _Head(BaseModel):
    """What a point says beside settings."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    at: Annotated[float, Field(ge=0)]
    travel: Annotated[float, Field(ge=0)] = 0.0


@dataclass(frozen=True)
class Point:
    """A moment.

    Attributes:
        at: seconds from the beginning at which its settings hold.
        travel: seconds before `at` at which the way from the settings before begins.
        settings: everything that the timeline has said so far.
    """

    at: float
    travel: float
    settings: dict[str, Any]


class Timeline:
    """Points in time order. A file::

    loop = 60                    # seconds after which it begins again; may be left out
    [[point]]
    at = 0
    prompt = "pencil sketch"
    [[point]]
    at = 20
    travel = 5                   # from second 15 on the one turns into the other
    prompt = "van gogh"
    strength = 0.7
    """

    def __init__(self, points: list[Point], loop: float | None = None) -> None:
        self.points, self.loop = points, loop

    @classmethod
    def read(cls, path: Path) -> Timeline:
        """Read a file.

        Raises:
            ConfigError: in one line, what is wrong with it.
        """
        said = read_toml(path)
        given, loop = said.pop("point", None), said.pop("loop", None)
        if said:
            raise ConfigError(f"{path}: {next(iter(said))} is not known; known are loop and [[point]]")
        if not isinstance(given, list) or not given or not all(isinstance(p, dict) for p in given):
            raise ConfigError(f"{path}: no [[point]] with at = SECONDS and settings")
        points: list[Point] = []
        settings: dict[str, Any] = {}
        for number, table in enumerate(given, 1):
            try:
                head = _Head.model_validate(table)
                settings = {**settings, **plain_names({k: v for k, v in table.items() if k not in ("at", "travel")})}
                used = [name for name in OWN if name in settings]
                if used:
                    raise ConfigError(f"{used[0]}: the timeline uses it for its own travels; give prompts only")
                RunConfig.make(**settings)
            except ValidationError as error:
                first = error.errors()[0]
                raise ConfigError(f"{path}: point {number}: {first['loc'][0]}: {first['msg']}") from None
            except ConfigError as error:
                raise ConfigError(f"{path}: point {number}: {error}") from None
            points.append(Point(head.at, head.travel, settings))
        for number, (before, point) in enumerate(pairwise(points), 2):
            if point.at <= before.at or point.travel > point.at - before.at:
                raise ConfigError(f"{path}: point {number}: must lie behind point {number - 1}, its travel included")
        if loop is not None and (isinstance(loop, bool) or not isinstance(loop, (int, float)) or loop <= points[-1].at):
            raise ConfigError(f"{path}: loop = {loop!r}: seconds, more than the last point's {points[-1].at:g}")
        if loop is not None and (points[0].at or points[0].travel > loop - points[-1].at):
            raise ConfigError(f"{path}: with loop, point 1 begins at = 0, its travel behind point {len(points)}")
        if loop is None and points[0].travel:
            raise ConfigError(f"{path}: point 1: its travel has nothing to come from; leave it out, or give loop")
        return cls(points, None if loop is None else float(loop))

    def completed(self, before: Mapping[str, Any]) -> Timeline:
        """With every setting that a point names said by all of them, from settings that hold before the first."""
        named = {name: before[name] for point in self.points for name in point.settings if name in before}
        if before.get("timesteps") is not None:  # they hold until a point takes their place
            named = {name: value for name, value in named.items() if name not in ("strength", "steps")}
        points = [replace(point, settings={**named, **point.settings}) for point in self.points]
        return Timeline(points, self.loop)

    def settings(self, seconds: float) -> dict[str, Any]:
        """What holds at a time from the beginning; nothing before the first point."""
        points = self.points
        if self.loop is not None:
            first = points[0]
            points = [*points, Point(self.loop, first.travel, {**points[-1].settings, **first.settings})]
            seconds = seconds % self.loop
        held = [p for p in points if p.at <= seconds]
        if not held:
            return {}
        before = held[-1]
        after = points[len(held)] if len(held) < len(points) else None
        if after is None or not after.travel or seconds <= after.at - after.travel:
            return {**before.settings, "second_prompt": "", "blend": 0.0}
        return _between(before.settings, after.settings, 1 - (after.at - seconds) / after.travel)


def _between(before: dict[str, Any], after: dict[str, Any], share: float) -> dict[str, Any]:
    """Settings on the way: prompts blended, numbers moved."""
    result = {**before, "second_prompt": "", "blend": 0.0}
    for name in TRAVELS:
        a, b = before.get(name), after.get(name)
        if isinstance(a, (int, float)) and isinstance(b, (int, float)):
            result[name] = a + share * (b - a)
    if after.get("prompt", "") != before.get("prompt", ""):
        result |= {"second_prompt": after.get("prompt", ""), "blend": share}
    return result


class Player:
    """Goes through a timeline and says what has changed since."""

    def __init__(self, timeline: Timeline, before: Mapping[str, Any]) -> None:
        """Prepare.

        Args:
            timeline: what to go through.
            before: the settings it begins from: what a later point names and an earlier does not holds until then, and
                again after the loop.
        """
        self._timeline = timeline.completed(before)
        self._last: dict[str, Any] = {}

    def changes(self, seconds: float) -> dict[str, Any]:
        """Settings that are others now than when it was asked last; mostly none."""
        wanted, last = self._timeline.settings(seconds), self._last
        self._last = wanted
        changed = {name: value for name, value in wanted.items() if name not in last or last[name] != value}
        if {"strength", "steps"} & changed.keys() and wanted.get("timesteps") is not None:
            changed["timesteps"] = wanted["timesteps"]  # else they would give way
        return changed


class Travel:
    """Plays a timeline on a running stream, in a thread of its own; what it does not name can be changed meanwhile."""

    def __init__(self, timeline: Timeline, actions: Actions) -> None:
        """Prepare; settings that no point names yet are those of the run as it is now."""
        self._player, self._actions = Player(timeline, dict(actions.controlled.config)), actions
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="streamdiff-timeline", daemon=True)

    def __enter__(self) -> Travel:
        """Begin at second 0."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it, wherever it is."""
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        begun = time.monotonic()
        while True:
            changes = self._player.changes(time.monotonic() - begun)
            if changes:
                self._actions.change(changes, told="")
            if self._stopped.wait(TICK):
                return
