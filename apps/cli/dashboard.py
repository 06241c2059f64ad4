"""The terminal's dashboard: figures, settings and what happened, as long as a run lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from apps.cli.console import console
from apps.controls.controlled import Controlled
from apps.controls.keys import HELP
from apps.live.report import dropped, milliseconds, settings

REFRESHES = 4
"""Per second."""

MESSAGES = 6
"""Last lines of what happened that are shown."""


def render(show: Controlled, title: str) -> Any:
    """The dashboard of this moment."""
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    figures = show.figures()
    source, model = figures["source"], figures["model"]
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(ratio=1)

    def row(name: str, text: str, style: str = "") -> None:
        table.add_row(name, Text(text, style=style, overflow="ellipsis", no_wrap=True))

    speed = f"{figures['fps_out']:.1f} of {figures['fps_in']:.1f} per second, limited by the {figures['limited_by']}"
    row("frames", speed, "bold")
    counts = (
        f"{model['frames_out']} done, {dropped(figures)} overtaken, {model['skipped']} alike, {model['failed']} failed"
    )
    row("model", f"{milliseconds(figures['model_p50'])} a frame; {counts}")
    row("look", settings(show))
    running = source["state"] == "running"
    row("in", f"{source['name']}: {source['state']}, {source['read']} read", "" if running else "yellow")
    for sink in figures["sinks"]:
        text = (
            f"{sink['name']}: {sink['state']}, {milliseconds(sink['latency_p50'])} after the camera "
            f"(p95 {milliseconds(sink['latency_p95'])}), {sink['delivered']} delivered"
        )
        row("out", text, "" if sink["state"] == "running" else "yellow")
    for line in show.messages()[-MESSAGES:]:
        row("", line, "dim")
    keys = "  ".join(f"{keys} {text}" for keys, text in HELP[:-2]) + "  q quit"
    return Panel(table, title=Text(title, overflow="ellipsis", no_wrap=True), subtitle=Text(keys, overflow="ellipsis"))


@contextlib.contextmanager
def dashboard(show: Controlled, title: str, *, plain: bool) -> Iterator[bool]:
    """Show it while the run lasts; whether there is one: not where no terminal watches, or plain lines are wanted."""
    screen = console(stderr=True)
    if plain or not screen.is_terminal:
        yield False
        return
    from rich.live import Live

    with Live(get_renderable=lambda: render(show, title), console=screen, refresh_per_second=REFRESHES):
        yield True
