"""What a run says of itself: lines for a window or a log, and the summary at its end."""

from __future__ import annotations

from typing import Any

from apps.controls.controlled import Controlled
from apps.run_config import Mode


def brief(show: Controlled) -> list[str]:
    """The figures of this moment, for people."""
    figures = show.figures()
    return [
        f"{figures['fps_out']:.1f} of {figures['fps_in']:.1f} frames per second, {dropped(figures)} dropped, "
        f"limited by the {figures['limited_by']}",
        *(f"{sink['name']}: {milliseconds(sink['latency_p50'])}, {sink['state']}" for sink in figures["sinks"]),
        settings(show),
    ]


def settings(show: Controlled) -> str:
    """The settings that people change, on one line."""
    config = show.config
    look = config.prompt or "no prompt"
    if config.second_prompt and config.blend:
        look += f" with {config.blend:.0%} {config.second_prompt}"
    if config.mode is Mode.rolling:
        plan = f"rolling window, strength {config.strength:.3g}"
    elif config.timesteps:
        plan = "timesteps " + ", ".join(map(str, config.timesteps))
    else:
        plan = f"strength {config.strength:.3g}, {config.steps} step{'' if config.steps == 1 else 's'}"
    return f"{look}, {plan}, seed {config.seed}"


def dropped(figures: dict[str, Any]) -> int:
    """Pictures that the model had no time for, or that nobody fetched from it."""
    return int(figures["model"]["dropped_in"] + figures["model"]["dropped_out"])


def summary(show: Controlled) -> list[str]:
    """What the run amounted to."""
    figures = show.figures()
    source, model = figures["source"], figures["model"]
    lines = [
        f"{source['name']}: {source['read']} pictures read, opened again {source['reopened']} times",
        f"model: {model['frames_out']} done, {dropped(figures)} overtaken, {model['failed']} failed",
    ]
    lines += [
        f"{sink['name']}: {sink['delivered']} delivered, {sink['overtaken']} overtaken, {sink['lost']} lost, "
        f"latency {milliseconds(sink['latency_p50'])} (p95 {milliseconds(sink['latency_p95'])})"
        f"{', not completed' if sink['state'] == 'incomplete' else ''}"
        for sink in figures["sinks"]
    ]
    return lines


def milliseconds(seconds: float | None) -> str:
    """A time for people."""
    return "unknown" if seconds is None else f"{1000 * seconds:.0f} ms"
