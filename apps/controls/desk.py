"""Desk: everything that may steer one run, checked before the model is loaded and opened together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from apps.addresses import host_and_port
from apps.controls.actions import Actions
from apps.controls.controlled import Controlled
from apps.controls.presets import Presets
from apps.controls.timeline import Timeline, Travel
from streamdiff.errors import ConfigError


@dataclass(frozen=True)
class Wanted:
    """What the user asked for; None is without.

    Attributes:
        presets, timeline: TOML files.
        osc, http: PORT or HOST:PORT.
        midi: a port, as ``midi.Midi`` takes it.
        token: for http.
    """

    presets: Path | None = None
    timeline: Path | None = None
    osc: str | None = None
    midi: str | None = None
    http: str | None = None
    token: str | None = None


class Desk:
    """The controllers of a run, open while it is entered.

    Attributes:
        actions: what they do; for keys, too. Set by ``steer``.
    """

    def __init__(self, wanted: Wanted) -> None:
        """Read the files and check the addresses.

        Raises:
            ConfigError: in one line, what is wrong.
        """
        self._wanted = wanted
        self._presets = Presets(wanted.presets)
        self._timeline = Timeline.read(wanted.timeline) if wanted.timeline is not None else None
        self._osc = place("osc", wanted.osc)
        self._http = place("http", wanted.http)
        if wanted.token is not None and wanted.http is None:
            raise ConfigError("--token is for --http; give that, too")
        self.actions: Actions
        self._open = contextlib.ExitStack()

    def steer(self, controlled: Controlled, styles: tuple[str, ...], tell: Callable[[str], None]) -> Actions:
        """Say what is steered, and where its changes are told."""
        self.actions = Actions(controlled, styles, self._presets, tell)
        return self.actions

    def open(self, say: Callable[[str], None]) -> None:
        """Open everything, the timeline last.

        Args:
            say: gets a line for each controller: where it listens.

        Raises:
            ConfigError: one of them cannot be; none stays open.
        """
        with contextlib.ExitStack() as opened:
            if self._osc is not None:
                from apps.controls.osc import HELP, Osc

                osc = opened.enter_context(Osc(self.actions, *self._osc))
                say(f"OSC on {self._osc[0]}:{osc.port}: {HELP}")
            if self._wanted.midi is not None:
                from apps.controls.midi import Midi

                midi = opened.enter_context(Midi(self.actions, self._wanted.midi))
                knobs = ", ".join(f"{name} on control {n}" for n, name in midi.controls.items())
                say(f"MIDI from {self._wanted.midi.partition('?')[0]}: {knobs}; pads choose presets or styles")
            if self._http is not None:
                try:
                    from apps.controls.http import Http
                except ModuleNotFoundError as error:
                    raise ConfigError(f"--http needs {error.name}: pip install 'streamdiff[serve]'") from None

                http = opened.enter_context(Http(self.actions, *self._http, self._wanted.token))
                token = f" with the bearer token {http.token}" if http.token else ""
                say(f"HTTP on {http.address}api/sessions/live/settings{token}")
            if self._timeline is not None:
                opened.enter_context(Travel(self._timeline, self.actions))
            self._open = opened.pop_all()

    def close(self) -> None:
        """Close everything."""
        self._open.close()


def place(option: str, text: str | None) -> tuple[str, int] | None:
    """PORT or HOST:PORT.

    Raises:
        ConfigError: it is neither.
    """
    if text is None:
        return None
    found = host_and_port(text)
    if found is None:
        raise ConfigError(f"--{option} {text}: a port such as 9000, or HOST:PORT to listen on another address")
    return found
