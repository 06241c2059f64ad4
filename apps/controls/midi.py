"""MIDI: knobs and faders move settings, pads and program changes choose presets or styles."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apps.addresses import host_and_port
from apps.controls.actions import Actions
from apps.run_config import RunConfig
from apps.uri import parse
from streamdiff.errors import ConfigError

RANGES = {
    "strength": (0.05, 1.0),
    "blend": (0.0, 1.0),
    "guidance_scale": (1.0, 4.0),
    "delta": (0.0, 2.0),
    "steps": (1.0, 4.0),
    "similarity_threshold": (0.9, 0.999),
    "calm": (0.0, 0.95),
    "seed": (0.0, 127.0),
}
"""What a control's 0 and 127 stand for."""

CONTROLS = {1: "strength", 2: "blend", 3: "guidance_scale", 4: "delta", 5: "steps"}
"""Settings by control number, where the user says nothing else; 1 is the modulation wheel."""

FIRST_NOTE = 36
"""The lowest pad of most controllers (C1): the first preset or style."""

POLL = 0.005
"""Seconds between two looks at the port."""


class Midi:
    """Listens to a port while it is entered.

    A port is written NAME, part of one, or HOST:PORT to wait for MIDI over TCP (mido's socket protocol); then
    ``?cc20=strength&cc21=blend`` for a controller whose knobs have other numbers.
    """

    def __init__(self, actions: Actions, text: str) -> None:
        """Open the port.

        Raises:
            ConfigError: mido is missing, no such port, or a control or setting that is not known.
        """
        try:
            import mido
            import mido.sockets
        except ModuleNotFoundError:
            raise ConfigError("MIDI needs mido: pip install 'streamdiff[live,midi]'") from None
        options = frozenset(f"cc{n}" for n in range(128))
        uri = parse(text, frozenset({"midi"}), frozenset(), {"": options, "midi": options})
        self.controls = {int(name[2:]): setting for name, setting in uri.options.items()} or dict(CONTROLS)
        unknown = [setting for setting in self.controls.values() if setting not in RANGES]
        if unknown:
            raise ConfigError(f"{text}: {unknown[0]!r} cannot be on a knob; what can: {', '.join(RANGES)}")
        self.port: Any = _opened(mido, uri.rest)
        self._actions = actions
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="streamdiff-midi", daemon=True)

    def __enter__(self) -> Midi:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the port."""
        self._stopped.set()
        self._thread.join()
        with contextlib.suppress(Exception):  # a controller that was unplugged
            self.port.close()

    def _work(self) -> None:
        try:
            self._listen()
        except Exception as error:  # the backends raise what they like
            self._actions.tell(f"MIDI: the controller is lost ({error}); everything else goes on")

    def _listen(self) -> None:
        while not self._stopped.wait(POLL):
            # A knob sends many values between two looks: only the last of each counts.
            moved: dict[str, Any] = {}
            for message in self.port.iter_pending():
                if message.type == "control_change" and message.control in self.controls:
                    name = self.controls[message.control]
                    moved[name] = scaled(name, message.value)
                elif message.type == "note_on" and message.velocity:
                    self._actions.number(message.note - FIRST_NOTE)
                elif message.type == "program_change":
                    self._actions.number(message.program)
            if moved:
                self._actions.change(moved)


class Listening:
    """MIDI over TCP, from any number of senders.

    mido's own PortServer accepts them, but waits for ever when asked what is pending.
    """

    def __init__(self, sockets: Any, host: str, port: int) -> None:
        self._server = sockets.PortServer(host, port)
        self._senders: list[Any] = []

    def iter_pending(self) -> Iterator[Any]:
        """The messages that have come."""
        while (sender := self._server.accept(block=False)) is not None:
            self._senders.append(sender)
        for sender in self._senders:
            try:
                yield from sender.iter_pending()
            except OSError:  # it hung up in the middle
                sender.close()
        self._senders = [sender for sender in self._senders if not sender.closed]

    def close(self) -> None:
        """Hear nobody any more."""
        for port in (*self._senders, self._server):
            port.close()


def scaled(name: str, value: int) -> float | int:
    """A control's 0..127 as the setting's value; whole where it counts."""
    least, most = RANGES[name]
    number = least + (most - least) * value / 127
    return round(number) if RunConfig.model_fields[name].annotation is int else round(number, 4)


def ports() -> list[str]:
    """The MIDI inputs of this machine; none where MIDI is not installed."""
    try:
        import mido

        with _silent():
            return list(dict.fromkeys(mido.get_input_names()))
    except Exception:  # no backend, or no sound system
        return []


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what a machine that has no sound system makes ALSA's own library say on stderr."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _opened(mido: Any, place: str) -> Any:
    found = ports()
    fitting = [name for name in found if place.lower() in name.lower()]
    # A port's own name may end like an address, too: "nanoKONTROL2 20:0".
    address = host_and_port(place) if ":" in place and not fitting else None
    if address is not None:
        try:
            return Listening(mido.sockets, *address)
        except OSError as error:
            raise ConfigError(f"MIDI cannot listen on {place} ({error}); give another --midi") from None
    if not fitting:
        have = ", ".join(found) or "none; MIDI ports need python-rtmidi: pip install 'streamdiff[midi]'"
        raise ConfigError(f"there is no MIDI port {place!r}; there are: {have}")
    try:
        return mido.open_input(fitting[0])
    except Exception as error:  # the backends raise what they like
        raise ConfigError(f"MIDI port {fitting[0]} cannot be opened ({error})") from None
