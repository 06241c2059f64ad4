"""OSC: a controller, TouchDesigner or any other program sets settings over UDP."""

from __future__ import annotations

import math
import threading
from typing import Any

from apps.controls.actions import Actions
from apps.run_config import RunConfig
from streamdiff.errors import ConfigError

PREFIX = "/streamdiff/"
HELP = f"{PREFIX}SETTING VALUE, {PREFIX}preset NAME or NUMBER from 1, {PREFIX}style STEPS, {PREFIX}seed, {PREFIX}stop"


class Osc:
    """Listens while it is entered. ``/streamdiff/strength 0.6`` sets a setting, as ``HELP`` says."""

    def __init__(self, actions: Actions, host: str, port: int) -> None:
        """Open the port.

        Raises:
            ConfigError: python-osc is missing, or the port is taken.
        """
        try:
            from pythonosc.dispatcher import Dispatcher
            from pythonosc.osc_server import BlockingOSCUDPServer
        except ModuleNotFoundError:
            raise ConfigError("OSC needs python-osc: pip install 'streamdiff[live]'") from None
        # A bundle may say when it is to be acted on. Waiting for that would keep all others waiting, for a sender whose
        # clock is ahead perhaps for hours: everything is acted on when it comes.
        dispatcher = Dispatcher(strict_timing=False)
        dispatcher.set_default_handler(self._take)
        try:
            self._server = BlockingOSCUDPServer((host, port), dispatcher)
        except OSError as error:
            raise ConfigError(f"OSC cannot listen on {host}:{port} ({error.strerror}); give another --osc") from None
        self._actions = actions
        self._thread = threading.Thread(target=self._server.serve_forever, name="streamdiff-osc", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Osc:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, address: str, *values: Any) -> None:
        name = address.removeprefix(PREFIX).strip("/").replace("-", "_")
        value = values[0] if len(values) == 1 else None if not values else list(values)
        if not address.startswith(PREFIX):
            return  # meant for somebody else
        if isinstance(value, float) and not math.isfinite(value):
            self._actions.tell(f"{address}: {value} is no number to set")
            return
        if name == "stop":
            self._actions.stop()
        elif name == "preset" and isinstance(value, str):
            self._actions.preset(value)
        elif name == "preset" and isinstance(value, (int, float)):
            self._actions.number(int(value) - 1)
        elif name == "style" and isinstance(value, (int, float)):
            self._actions.style(int(value))
        elif name == "seed" and value is None:
            self._actions.reseed()
        else:
            self._actions.change({name: _fitting(name, value)})


def _fitting(name: str, value: Any) -> Any:
    """Controllers know one kind of number: what counts is rounded, and an empty text is nothing."""
    field = RunConfig.model_fields.get(name)
    if field is not None and field.annotation is int and isinstance(value, float):
        return round(value)
    return None if value == "" and field is not None and field.annotation is not str else value
