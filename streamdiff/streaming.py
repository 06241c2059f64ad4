"""Streaming: what the two video modes have in common, and all that a queue around one needs to know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from streamdiff.config import Settings
from streamdiff.frame import Frame

C = TypeVar("C", bound=Settings)
C_co = TypeVar("C_co", bound=Settings, covariant=True)


class Streaming(Protocol[C_co]):
    """Frames in, frames out, some calls later: ``Stream`` picture by picture, ``RollingStream`` block by block.

    Synchronous, and used by one thread.
    """

    @property
    def lost(self) -> int:
        """Frames that an error of the model has cost."""
        ...

    @property
    def config(self) -> C_co:
        """The settings that the next frame will be made with."""
        ...

    @property
    def burst(self) -> int:
        """Frames that enter the model together, and so come out together."""
        ...

    def push(self, frame: Frame) -> list[Frame]:
        """Let a frame in; returns those that came out, in order."""
        ...

    def drain(self) -> Iterator[list[Frame]]:
        """Finish what is in, step by step, without new input."""
        ...

    def update(self, /, **settings: Any) -> None:
        """Change settings; ConfigError where they cannot be, and nothing has changed then."""
        ...

    def reset(self) -> None:
        """Throw away what is in, and begin anew."""
        ...


def flushed(drained: Iterator[list[Frame]], put_back: Callable[[list[Frame]], None]) -> list[Frame]:
    """All that a ``drain`` gives, in one list.

    Args:
        drained: the drain.
        put_back: is given what had come when an error ends it, which then goes on; the next call gives it.
    """
    finished: list[Frame] = []
    try:
        for frames in drained:
            finished += frames
    except BaseException:
        if finished:
            put_back(finished)
        raise
    return finished
