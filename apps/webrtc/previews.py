"""Small pictures of the model's styles for the page, made by the running model when they are first asked for."""

from __future__ import annotations

import asyncio
import io
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from apps.run_config import Mode
from streamdiff import Frame

if TYPE_CHECKING:
    from apps.webrtc.sessions import Sessions
    from apps.webrtc.turns import TurnTakingStream

SIDE = 256
QUALITY = 80
IDLE_SECONDS = 5.0


class Previews:
    """One JPEG for each style, kept once made. They share a stream, which ends when nobody has asked for a while: with
    a stream for each, engines were made anew for each, and a session that began meanwhile waited for them."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._made: dict[str, bytes] = {}
        self._lock = asyncio.Lock()
        self._stream: TurnTakingStream | None = None
        self._ending: asyncio.TimerHandle | None = None

    async def get(self, name: str) -> bytes | None:
        """The style's picture as a JPEG; None for a style the model does not have."""
        prompts = {style.name: style.prompt for style in self._sessions.model.styles}
        if name not in prompts:
            return None
        async with self._lock:
            if name not in self._made:
                if self._ending is not None:
                    self._ending.cancel()
                try:
                    self._made[name] = await self._sessions.in_thread(self._draw, prompts[name])
                finally:
                    self._ending = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end)
        return self._made[name]

    def _end(self) -> None:
        """End the stream they share."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _draw(self, prompt: str) -> bytes:
        photograph = Image.open(io.BytesIO(resources.files("apps.webrtc").joinpath("page", "preview.jpg").read_bytes()))
        pixels = np.asarray(photograph.convert("RGB"))
        stream = self._stream
        if stream is None:
            config = self._sessions.defaults.changed(width=SIDE, height=SIDE, mode=Mode.stream)
            stream = self._stream = self._sessions.new_stream(config)
        stream.update(prompt=prompt)
        finished = [*stream.push(Frame(pixels)), *stream.flush()]
        out = io.BytesIO()
        Image.fromarray(finished[-1].pixels).save(out, "JPEG", quality=QUALITY)
        return out.getvalue()
