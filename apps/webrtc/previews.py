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

SIDE = 256
QUALITY = 80


class Previews:
    """One JPEG for each style, kept once made."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._made: dict[str, bytes] = {}
        self._lock = asyncio.Lock()

    async def get(self, name: str) -> bytes | None:
        """The style's picture as a JPEG; None for a style the model does not have."""
        prompts = {style.name: style.prompt for style in self._sessions.model.styles}
        if name not in prompts:
            return None
        async with self._lock:
            if name not in self._made:
                self._made[name] = await self._sessions.in_thread(self._draw, prompts[name])
        return self._made[name]

    def _draw(self, prompt: str) -> bytes:
        photograph = Image.open(io.BytesIO(resources.files("apps.webrtc").joinpath("page", "preview.jpg").read_bytes()))
        pixels = np.asarray(photograph.convert("RGB"))
        with self._sessions.new_stream(
            self._sessions.defaults.changed(prompt=prompt, width=SIDE, height=SIDE, mode=Mode.stream)
        ) as stream:
            finished = [*stream.push(Frame(pixels)), *stream.flush()]
        out = io.BytesIO()
        Image.fromarray(finished[-1].pixels).save(out, "JPEG", quality=QUALITY)
        return out.getvalue()
