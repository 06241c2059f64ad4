"""Changes: settings changed by one thread and applied by another, each before the frame that came in after it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic

from streamdiff.streaming import C, Streaming

log = logging.getLogger("streamdiff.live")

TOGETHER = (("timesteps", "strength", "steps"), ("width", "height"))
"""Settings that make sense only with one another."""


class Changes(Generic[C]):
    """What has been changed and not yet applied, of one stream.

    ``make`` and ``stamp`` may be called from any thread, ``apply`` and ``agree`` by the one that has the stream.

    Attributes:
        on_refused: told of settings that validated and could not be built; ``config`` is then what it was before them.
    """

    def __init__(self, stream: Streaming[C]) -> None:
        self.on_refused: Callable[[str], None] | None = None
        self._stream = stream
        self._config: C = stream.config
        # Changes not yet applied, and how many were ever made: a frame carries the number that it came in under.
        self._waiting: deque[dict[str, Any]] = deque()
        self._made = self._applied = self._stamped = 0
        self._lock = threading.Lock()

    @property
    def config(self) -> C:
        """The settings of the next frame that enters."""
        return self._config

    def make(self, settings: dict[str, Any]) -> None:
        """Change settings for the frames that come in from now on.

        Raises:
            ConfigError: unknown name or value out of bounds; nothing has changed.
        """
        with self._lock:
            settings = self._config.implied(settings)
            self._config = self._config.changed(**settings)
            if self._waiting and self._stamped < self._made:
                # No frame came in since the last change: they are one, however many are made while nothing moves.
                self._waiting[-1].update(settings)
                return
            self._waiting.append(dict(settings))
            self._made += 1

    def stamp(self) -> int:
        """A frame comes in: the number of changes made before it."""
        with self._lock:
            self._stamped = self._made
            return self._made

    def apply(self, made: int) -> None:
        """Apply the changes that were made before a frame came in, as one, and no later ones."""
        settings: dict[str, Any] = {}
        with self._lock:
            while self._applied < made:
                settings.update(self._waiting.popleft())
                self._applied += 1
        if not settings:
            return
        try:
            self._stream.update(**settings)
        except Exception as error:
            parts = _parts(settings)
            # What cannot be takes nothing else with it.
            refused = [(settings, error)] if len(parts) == 1 else [no for part in parts if (no := self._tried(part))]
            with self._lock:
                self._renew()
            for part, why in refused:
                self._tell(list(part), why)

    def agree(self, error: Exception) -> None:
        """After a failed push: a size may show only there that it does not fit, and the stream went back to its own."""
        with self._lock:
            before = dict(self._config)
            self._renew()
            lost = [name for name, value in dict(self._config).items() if before[name] != value]
        if lost:
            self._tell(lost, error)

    def _tried(self, part: dict[str, Any]) -> tuple[dict[str, Any], Exception] | None:
        try:
            self._stream.update(**part)
        except Exception as error:
            return part, error
        return None

    def _renew(self) -> None:
        """What the stream has, and the changes still to be applied to it; under the lock."""
        self._config = self._stream.config
        for later in self._waiting:
            self._config = self._config.changed(**later)

    def _tell(self, names: list[str], error: Exception) -> None:
        text = f"settings {', '.join(names)} were not applied: {error}"
        log.error("%s", text)
        if self.on_refused is not None:
            self.on_refused(text)


def _parts(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Settings by what belongs together; a size last, for it is the likeliest not to be buildable."""
    plan, size = ({name: settings[name] for name in names if name in settings} for names in TOGETHER)
    alone = [{name: value} for name, value in settings.items() if name not in plan and name not in size]
    return [part for part in (plan, *alone, size) if part]
