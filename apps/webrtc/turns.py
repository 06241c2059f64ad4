"""Fair sharing of the model: streams of several sessions take turns, first come first served."""

from __future__ import annotations

import threading
from collections import deque

from apps.modes import ModalStream, SharedRolling
from apps.run_config import Mode, RunConfig
from engines.base import Runtime
from streamdiff import Frame, Stream, StreamConfig
from streamdiff.models.base import Model


class Turns:
    """A lock that is given in the order in which it was asked for; one busy session cannot starve another."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._taken = False

    def __enter__(self) -> None:
        with self._guard:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Event()
            self._waiting.append(mine)
        mine.wait()

    def __exit__(self, *_: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()  # it stays taken: handed on
            else:
                self._taken = False

    @property
    def waiting(self) -> int:
        """Streams that wait for their turn now."""
        with self._guard:
            return len(self._waiting)


class TurnTakingStream(ModalStream):
    """A stream of both modes that runs its model only in its turn."""

    def __init__(
        self, turns: Turns, model: Model, runtime: Runtime, config: RunConfig, rolling: SharedRolling | None = None
    ) -> None:
        settings = config.of_pictures
        if config.mode is Mode.rolling:  # the size is then the output's alone
            settings["width"], settings["height"] = model.default_size
        super().__init__(Stream(model, runtime, StreamConfig.make(**settings)), config, rolling)
        self.turns = turns

    def push(self, frame: Frame) -> list[Frame]:
        """As ``ModalStream.push``, in turn."""
        with self.turns:
            return super().push(frame)
