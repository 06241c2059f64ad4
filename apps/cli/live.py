"""``streamdiff live``, ``webcam`` and ``virtual-camera``: any source in, any number of sinks out, until stopped."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated

import typer

from apps.cli.console import note, say
from apps.cli.live_options import Input, Plain, Seconds, with_settings
from apps.cli.progress import waiting
from apps.controls.desk import Wanted
from apps.loading import Choice

REPORT = 10.0
"""Seconds between two lines of figures."""


@with_settings
def live(
    source: Input = "camera",
    output: Annotated[
        list[str] | None,
        typer.Option("-o", "--output", metavar="URI", help="Where they go; may be given again.", show_default="window"),
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="Show what URIs there are, and what is here.")] = False,
    seconds: Seconds = None,
    plain: Plain = False,
    *,
    choice: Choice,
    wanted: Wanted,
) -> None:
    """Stylise a camera, the screen, a file or a stream, live, into one or more outputs."""
    if show_list:
        list_all()
        return
    run_live(source, output or ["window"], choice, wanted, seconds, plain)


@with_settings
def webcam(
    source: Input = "camera", seconds: Seconds = None, plain: Plain = False, *, choice: Choice, wanted: Wanted
) -> None:
    """Show the webcam, stylised, in a window."""
    run_live(source, ["window"], choice, wanted, seconds, plain)


@with_settings
def virtual_camera(
    source: Input = "camera",
    camera: Annotated[str | None, typer.Option("--camera", help="Which virtual camera.", show_default="first")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show a window, too.")] = False,
    seconds: Seconds = None,
    plain: Plain = False,
    *,
    choice: Choice,
    wanted: Wanted,
) -> None:
    """Make the stylised webcam a camera that Zoom, Meet, Discord and OBS see."""
    outputs = [f"virtual-camera:{camera}" if camera else "virtual-camera", *(["window"] if preview else [])]
    run_live(source, outputs, choice, wanted, seconds, plain)


def list_all() -> None:
    """What can be an input or output, and what this machine has."""
    from apps.controls import midi
    from apps.sinks import uri as sinks
    from apps.sources import uri as sources

    for title, kinds in (("inputs", sources.KINDS), ("outputs", sinks.KINDS)):
        say(f"{title}:")
        width = max(len(name) for name, _ in kinds)
        for name, text in kinds:
            say(f"{name:<{width}}   {text}")
    found = sources.found() + [f"--midi {name!r}" for name in midi.ports()]
    say("on this machine:" if found else "on this machine: no camera, no screen and no MIDI port was found")
    for line in found:
        say(line)


def run_live(
    source: str, outputs: list[str], choice: Choice, wanted: Wanted, seconds: float | None, plain: bool
) -> None:
    """Do what ``streamdiff live`` does.

    Raises:
        StreamdiffError, EngineError: in one line, what is wrong.
    """
    from apps.cli.dashboard import dashboard
    from apps.controls.desk import Desk
    from apps.controls.keys import Keys
    from apps.controls.terminal import TerminalKeys
    from apps.live.report import brief, summary
    from apps.live.show import Show
    from apps.sinks.sink import Picture
    from apps.sinks.uri import check_files, sink_from
    from apps.sinks.window import Window
    from apps.sources.uri import is_address, source_from, waits_for_sender
    from apps.uri import shown
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
    check_files(outputs, source)
    desk = Desk(wanted)
    with contextlib.ExitStack() as opened:
        # What it shows decides the shape of what comes out. A sender is not kept waiting for the model to be loaded.
        first = [] if waits_for_sender(source) else [open_source()]
        opened.callback(lambda: [unused.close() for unused in first])
        shape = next(((s.width, s.height) for s in first if s.width > 0 and s.height > 0), None)
        if first and is_address(source):
            first.pop().close()  # who sends does not wait either
        with waiting(f"loading {choice.model}"):
            from apps.loading import open_run
            from apps.prompts import about_settings

            stream = opened.enter_context(open_run(choice, source=shape))
        for text in about_settings(stream.model, stream.config) if wanted.timeline is None else ():
            note(text)
        show = Show(stream, lambda: first.pop() if first else open_source(), sinks)
        show.on_message = note
        pressed.append(
            Keys(desk.steer(show, tuple(style.prompt for style in stream.model.styles), show.tell), show.tell)
        )
        if waits_for_sender(source):
            note(f"waiting for a sender at {shown(source)}; Ctrl-C ends it")
        show.start()
        title = f"{shown(source)} -> {', '.join(map(shown, outputs))}"
        try:
            desk.open(say)
            say(f"{title}; Ctrl-C ends it")
            with dashboard(show, title, plain=plain) as watched, TerminalKeys(pressed[0].press):
                if watched:
                    show.on_message = lambda _: None  # the dashboard shows them
                begun = told = time.monotonic()

                def stopped() -> bool:
                    nonlocal told
                    if seconds is not None and time.monotonic() - begun > seconds:
                        show.stop()
                    if not watched and time.monotonic() - told > REPORT:
                        told = time.monotonic()
                        for line in brief(show):
                            note(line)
                    return not show.running

                if windows:
                    windows[0].run(stopped)
                while not stopped():
                    show.wait(0.1)
        except KeyboardInterrupt:
            pass  # how it is meant to be ended: every sink is completed, and the summary follows
        finally:
            show.on_message = note
            desk.close()
            show.join()
        for line in summary(show):
            say(line)
        if any(sink["state"] == "incomplete" for sink in show.figures()["sinks"]):
            raise typer.Exit(1)
