"""The progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from apps.cli.console import console


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A spinner while something takes seconds; nothing where nobody watches."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield
        return
    from rich.markup import escape

    with screen.status(escape(text)):
        yield


@contextmanager
def progress(text: str, total: int | None) -> Iterator[Callable[[Any], None]]:
    """A bar with frames per second and the time left; gives the function to call after each frame."""
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.1f} fps" if speed else "… fps", style="progress.data.speed")

    screen = console(stderr=True)
    if not screen.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    # Refreshed from its own thread ten times a second: a call for each frame costs microseconds.
    with Progress(*columns, console=screen, transient=True) as bars:
        task = bars.add_task(escape(text), total=total)
        yield lambda _: bars.update(task, advance=1)
