"""Controlled: what a running stream shows to whoever steers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from apps.run_config import RunConfig


class Controlled(Protocol):
    """A running stream. Every method may be called from any thread and never waits."""

    @property
    def config(self) -> RunConfig:
        """The settings in use."""
        ...

    def update(self, settings: Mapping[str, Any]) -> RunConfig:
        """Change settings.

        Raises:
            ConfigError: unknown or out of bounds, in one line; nothing has changed.
        """
        ...

    def figures(self) -> dict[str, Any]:
        """What is measured and counted now, plain JSON values; seconds; None where nothing was measured yet.

        ``fps_in``, ``fps_out``, ``latency_p50``, ``latency_p95``, ``model_p50``, ``limited_by``, ``seconds``;
        ``source``: {name, state, read, reopened}; ``model``: {frames_in, frames_out, dropped_in, dropped_out, skipped,
        failed}; ``sinks``: [{name, state, delivered, overtaken, lost, reopened, fps, latency_p50, latency_p95}].
        """
        ...

    def messages(self) -> list[str]:
        """The last lines of what happened, oldest first."""
        ...

    def stop(self) -> None:
        """End the run, completing every sink."""
        ...
