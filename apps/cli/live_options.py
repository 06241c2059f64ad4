"""The options that ``live``, ``webcam`` and ``virtual-camera`` share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from apps.cli import options
from apps.controls.desk import Wanted

_CONTROL = "What steers it while it runs (keys always do)"

Seconds = Annotated[
    float | None, typer.Option("--seconds", min=0.1, help="End by itself after so long.", show_default="never")
]
Input = Annotated[str, typer.Option("-i", "--input", metavar="URI", help="Where pictures come from; see --list.")]
Plain = Annotated[bool, typer.Option("--plain", help="Lines of text instead of the dashboard.")]


def _control(flag: str, metavar: str, text: str) -> Any:
    return typer.Option(flag, metavar=metavar, help=text, rich_help_panel=_CONTROL, show_default=False)


SETTINGS = (
    ("prompt", options.Prompt), ("second_prompt", options.SecondPrompt), ("blend", options.Blend),
    ("negative_prompt", options.NegativePrompt), ("strength", options.Strength), ("steps", options.Steps),
    ("timesteps", options.Timesteps), ("width", options.Width), ("height", options.Height),
    ("guidance", options.GuidanceMode), ("guidance_scale", options.GuidanceScale), ("delta", options.Delta),
    ("seed", options.Seed), ("similarity_threshold", options.SimilarityThreshold), ("max_skip", options.MaxSkip),
    ("reuse_every", options.ReuseEvery), ("calm", options.Calm), ("mode", options.Mode), ("model", options.Model),
    ("vae", options.Vae),
    ("lora", options.Lora), ("engine", options.EngineName), ("device", options.Device),
    ("precision", options.Precision), ("rolling_model", options.RollingModel),
    ("checkpoint", options.Checkpoint), ("decoder", options.Decoder),
    ("config", options.ConfigFile),
)  # fmt: skip

CONTROLS = (
    ("presets", Annotated[Path | None, _control("--presets", "FILE", "TOML with settings by name; F1 is the first.")]),
    ("timeline", options.Timeline),
    ("osc", Annotated[str | None, _control("--osc", "[HOST:]PORT", "Take OSC: /streamdiff/strength 0.6.")]),
    ("midi", Annotated[str | None, _control("--midi", "NAME", "Take MIDI from a port: knobs, pads, programs.")]),
    ("http", Annotated[str | None, _control("--http", "[HOST:]PORT", "Serve settings and figures, as serve does.")]),
    ("token", Annotated[str | None, _control("--token", "TEXT", "What HTTP requests must bring.")]),
)


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes every setting and control, and gets them combined as ``choice`` and ``wanted``."""

    def wrapped(**given: Any) -> None:
        settings = {name: given.pop(name) for name, _ in SETTINGS}
        wanted = Wanted(**{name: given.pop(name) for name, _ in CONTROLS})
        command(**given, choice=options.choose(settings.pop("config"), **settings), wanted=wanted)

    own = inspect.signature(command, eval_str=True).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    taken = [p.replace(kind=keyword) for p in own if p.name not in ("choice", "wanted")]
    shared = (*CONTROLS, *SETTINGS)
    taken += [inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in shared]
    wrapped.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in taken}
    wrapped.__doc__, wrapped.__name__ = command.__doc__, command.__name__
    return wrapped
