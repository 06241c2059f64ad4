"""``streamdiff live``, ``webcam`` and ``virtual-camera``: any source in, any number of sinks out, until stopped."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from apps.cli import options
from apps.cli.console import note, say
from apps.cli.progress import waiting
from apps.loading import Choice

Seconds = Annotated[
    float | None, typer.Option("--seconds", min=0.1, help="End by itself after so long.", show_default="never")
]
Input = Annotated[str, typer.Option("-i", "--input", metavar="URI", help="Where pictures come from; see --list.")]
REPORT = 10.0
"""Seconds between two lines of figures."""

SETTINGS = (
    ("prompt", options.Prompt), ("second_prompt", options.SecondPrompt), ("blend", options.Blend),
    ("negative_prompt", options.NegativePrompt), ("strength", options.Strength), ("steps", options.Steps),
    ("timesteps", options.Timesteps), ("width", options.Width), ("height", options.Height),
    ("guidance", options.GuidanceMode), ("guidance_scale", options.GuidanceScale), ("delta", options.Delta),
    ("seed", options.Seed), ("similarity_threshold", options.SimilarityThreshold), ("max_skip", options.MaxSkip),
    ("reuse_every", options.ReuseEvery), ("model", options.Model), ("vae", options.Vae), ("lora", options.Lora),
    ("engine", options.EngineName), ("device", options.Device), ("precision", options.Precision),
    ("config", options.ConfigFile),
)  # fmt: skip


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes every setting, and gets them combined as ``choice``."""

    def wrapped(**given: Any) -> None:
        settings = {name: given.pop(name) for name, _ in SETTINGS}
        command(**given, choice=options.choose(settings.pop("config"), **settings))

    own = inspect.signature(command, eval_str=True).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    taken = [p.replace(kind=keyword) for p in own if p.name != "choice"]
    taken += [inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in SETTINGS]
    wrapped.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in taken}
    wrapped.__doc__, wrapped.__name__ = command.__doc__, command.__name__
    return wrapped


@with_settings
def live(
    source: Input = "camera",
    output: Annotated[
        list[str] | None,
        typer.Option("-o", "--output", metavar="URI", help="Where they go; may be given again.", show_default="window"),
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="Show what URIs there are, and what is here.")] = False,
    seconds: Seconds = None,
    *,
    choice: Choice,
) -> None:
    """Stylise a camera, the screen, a file or a stream, live, into one or more outputs."""
    if show_list:
        list_all()
        return
    run_live(source, output or ["window"], choice, seconds)


@with_settings
def webcam(source: Input = "camera", seconds: Seconds = None, *, choice: Choice) -> None:
    """Show the webcam, stylised, in a window."""
    run_live(source, ["window"], choice, seconds)


@with_settings
def virtual_camera(
    source: Input = "camera",
    camera: Annotated[str | None, typer.Option("--camera", help="Which virtual camera.", show_default="first")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show a window, too.")] = False,
    seconds: Seconds = None,
    *,
    choice: Choice,
) -> None:
    """Make the stylised webcam a camera that Zoom, Meet, Discord and OBS see."""
    outputs = [f"virtual-camera:{camera}" if camera else "virtual-camera", *(["window"] if preview else [])]
    run_live(source, outputs, choice, seconds)


def list_all() -> None:
    """What can be an input or output, and what this machine has."""
    from apps.sinks import uri as sinks
    from apps.sources import uri as sources

    for title, kinds in (("inputs", sources.KINDS), ("outputs", sinks.KINDS)):
        say(f"{title}:")
        for name, text in kinds:
            say(f"  {name}  -  {text}")
    found = sources.found()
    say("on this machine:" if found else "on this machine: no camera and no screen was found")
    for line in found:
        say(f"  {line}")


def run_live(source: str, outputs: list[str], choice: Choice, seconds: float | None) -> None:
    """Do what ``streamdiff live`` does.

    Raises:
        StreamdiffError, EngineError: in one line, what is wrong.
    """
    from apps.controls.keys import Keys
    from apps.live.show import Show
    from apps.sinks.sink import Picture
    from apps.sinks.uri import sink_from
    from apps.sinks.window import Window
    from apps.sources.uri import source_from
    from streamdiff.errors import ConfigError

    windows: list[Window] = []
    pressed: list[Keys] = []

    def open_window(picture: Picture) -> Window:
        windows.append(
            Window(picture, on_key=lambda key: pressed[0].press(key), on_closed=show.stop, lines=lambda: brief(show))
        )
        return windows[-1]

    # What costs nothing to check comes before the seconds that a model takes to load.
    open_source = source_from(source)
    if outputs.count("window") > 1:
        raise ConfigError("one window is enough: give --output window once")
    sinks = [sink_from(text, open_window) for text in outputs]
    with waiting(f"loading {choice.model}"):
        from apps.loading import open_stream
        from apps.prompts import about_prompt

        stream = open_stream(choice)
    with stream:
        for text in about_prompt(stream.model, stream.config.prompt):
            note(text)
        show = Show(stream, open_source, sinks)
        show.on_message = note
        pressed.append(Keys(show, tuple(style.prompt for style in stream.model.styles), note))
        show.start()
        say(f"{source} -> {', '.join(outputs)}; Ctrl-C ends it")
        try:
            begun = time.monotonic()

            def stopped() -> bool:
                if seconds is not None and time.monotonic() - begun > seconds:
                    show.stop()
                return not show.running

            if windows:
                windows[0].run(stopped)
            told = begun
            while not stopped():
                show.wait(0.1)
                if time.monotonic() - told > REPORT:
                    told = time.monotonic()
                    for line in brief(show):
                        note(line)
        finally:
            show.join()
        for line in summary(show):
            say(line)


def brief(show: Any) -> list[str]:
    """The figures of this moment, for people."""
    figures = show.figures()
    config = show.config
    dropped = figures["model"]["dropped_in"] + figures["model"]["dropped_out"]
    return [
        f"{figures['fps_out']:.1f} of {figures['fps_in']:.1f} frames per second, {dropped} dropped, "
        f"limited by the {figures['limited_by']}",
        *(f"{sink['name']}: {_ms(sink['latency_p50'])}, {sink['state']}" for sink in figures["sinks"]),
        f"{config.prompt or 'no prompt'}, strength {config.strength:g}, {config.steps} steps",
    ]


def summary(show: Any) -> list[str]:
    """What the run amounted to."""
    figures = show.figures()
    source, model = figures["source"], figures["model"]
    lines = [
        f"{source['name']}: {source['read']} pictures read, opened again {source['reopened']} times",
        f"model: {model['frames_out']} done, {model['dropped_in'] + model['dropped_out']} overtaken, "
        f"{model['failed']} failed",
    ]
    lines += [
        f"{sink['name']}: {sink['delivered']} delivered, {sink['overtaken']} overtaken, {sink['lost']} lost, "
        f"latency {_ms(sink['latency_p50'])} (p95 {_ms(sink['latency_p95'])})"
        for sink in figures["sinks"]
    ]
    return lines


def _ms(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{1000 * seconds:.0f} ms"
