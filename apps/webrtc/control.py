"""The data channel "control": settings in, confirmed settings and figures out."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, cast

from aiortc import RTCDataChannel
from aiortc.exceptions import InvalidStateError

from streamdiff import ConfigError

if TYPE_CHECKING:
    from apps.webrtc.session import Session

STATS_SECONDS = 0.5
MOST_CHARACTERS = 16_384
MOST_CHANNELS = 4


class Control:
    """Speaks JSON with one page for as long as its channel is open."""

    def __init__(self, channel: RTCDataChannel, session: Session) -> None:
        self._channel = channel
        self._session = session
        if len(session.listeners) >= MOST_CHANNELS:
            channel.close()
            return
        session.listeners.add(self.send)
        channel.on("message", self._on_message)
        channel.on("close", self._on_close)
        self._telling = asyncio.ensure_future(self._tell())

    def send(self, message: dict[str, Any]) -> None:
        """Send one message; a channel that has closed meanwhile takes nothing."""
        if self._channel.readyState == "open":
            try:
                self._channel.send(json.dumps(message))
            except (InvalidStateError, ConnectionError):
                self._on_close()

    def _on_close(self) -> None:
        self._session.listeners.discard(self.send)
        self._telling.cancel()

    def _on_message(self, text: str | bytes) -> None:
        if not isinstance(text, str) or len(text) > MOST_CHARACTERS:
            self.send({"type": "error", "error": "messages are JSON text of at most 16 KB"})
            return
        try:
            parsed: Any = json.loads(text)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            self.send({"type": "error", "error": "this is not a JSON object"})
            return
        message = cast("dict[str, Any]", parsed)
        kind = message.get("type")
        if kind == "ping":
            self.send({"type": "pong", "t": message.get("t")})
        elif kind == "settings" and isinstance(message.get("settings"), dict):
            self._change(message["settings"], message.get("id"))
        else:
            self.send({"type": "error", "error": "unknown message; known are settings and ping"})

    def _change(self, settings: dict[str, Any], number: Any) -> None:
        try:
            config = self._session.update(settings, by=self.send)
        except ConfigError as error:
            self.send({"type": "error", "error": str(error), "id": number})
            return
        self.send({"type": "settings", "settings": config.model_dump(mode="json"), "id": number})

    async def _tell(self) -> None:
        while self._channel.readyState in ("connecting", "open"):
            self.send(self._session.stats())
            await asyncio.sleep(STATS_SECONDS)
        self._session.listeners.discard(self.send)
