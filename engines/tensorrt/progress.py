"""How far a build is: TensorRT's nested phases as one share that only grows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Progress = Callable[[str, float], None]
"""Takes the name of the phase that works now and the share of the whole that is done, 0 to 1."""


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """The phases under way; TensorRT calls from several threads.

    An exception of the callback, Ctrl-C among them, ends the build: it must not travel through C++, so it is kept in
    ``error`` for whoever started the build to raise.
    """

    def __init__(self, tell: Progress) -> None:
        self.error: BaseException | None = None
        self._tell = tell
        self._phases: dict[str, _Phase] = {}
        self._share = 0.0
        self._lock = threading.Lock()

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins, inside another one or, without a parent, as a whole."""
        with self._lock:
            self._phases[name] = _Phase(parent, max(1, steps))

    def step(self, name: str) -> bool:
        """One step of a phase is done; False says that the build should stop."""
        with self._lock:
            if (phase := self._phases.get(name)) is not None:
                phase.done = min(phase.done + 1, phase.steps)
                self._say(name)
            return self.error is None

    def finish(self, name: str) -> None:
        """A phase is over, whether all of its steps were needed or not."""
        with self._lock:
            phase = self._phases.pop(name, None)
            if phase is not None and phase.parent is None and self.error is None:
                self._share = 1.0
                self._say(name)

    def _say(self, name: str) -> None:
        # Some phases come one after the other within a single step of their parent, the second one from 0 again.
        self._share = max(self._share, self._whole(name))
        if self.error is None:
            try:
                self._tell(name, self._share)
            except BaseException as error:  # raised again by the caller of the build
                self.error = error

    def _whole(self, name: str) -> float:
        """The share of the whole build that is done, as the phase of this name knows it."""
        share, current = 0.0, self._phases.get(name)
        while current is not None:
            share = min(1.0, (current.done + share) / current.steps)
            current = self._phases.get(current.parent) if current.parent is not None else None
        return share


def monitor(module: Any, phases: Phases) -> Any:
    """An IProgressMonitor that reports to the phases."""

    class Monitor(module.IProgressMonitor):
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return phases.step(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
