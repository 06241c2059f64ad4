"""A real server in a thread of its own, and real WebRTC clients."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, TypeVar

import av
import httpx
import numpy as np
import uvicorn
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from apps.modes import SharedRolling
from apps.run_config import RunConfig
from apps.webrtc.app import Access, make_app
from apps.webrtc.limits import Limits
from apps.webrtc.server import listen
from apps.webrtc.sessions import Sessions
from tests.rolling.toys import PictureVae, toy_model
from tests.toy import SIZE, toy

T = TypeVar("T")


class Running:
    """A server that runs: its address, its sessions, and its event loop."""

    def __init__(self, sessions: Sessions, access: Access) -> None:
        self.sessions = sessions
        self._socket = listen("127.0.0.1", 0)
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(make_app(sessions, access), log_config=None, access_log=False)
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="test-server", daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)

    def _run(self) -> None:
        async def run() -> None:
            self.loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[self._socket])

        asyncio.run(run())

    def inside(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run something in the server's loop."""
        assert self.loop is not None

        async def call() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(30)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._socket.close()


@contextmanager
def serving(
    limits: Limits | None = None, access: Access | None = None, sessions: Sessions | None = None, **defaults: Any
) -> Iterator[Running]:
    """A server with a toy model, or with the given sessions."""
    if sessions is None:
        made = toy()
        config = RunConfig.make(**{**SIZE, "prompt": "a", **defaults})
        rolling = SharedRolling(lambda: toy_model(PictureVae(), conditioned=True))
        sessions = Sessions(made.model, made.runtime, config, limits or Limits(creations=10_000), rolling=rolling)
    running = Running(sessions, access or Access())
    try:
        yield running
    finally:
        running.stop()


class Camera(MediaStreamTrack):
    """Pictures at a steady rate; each is of one grey, which changes slowly."""

    kind = "video"

    def __init__(self, fps: int = 30, size: tuple[int, int] = (96, 64), frames: int | None = None) -> None:
        super().__init__()
        self._fps, self._size, self._left = fps, size, frames
        self._count = 0
        self._began: float | None = None

    async def recv(self) -> av.VideoFrame:
        if self._left is not None and self._count >= self._left:
            await asyncio.sleep(3600)
        now = time.monotonic()
        self._began = self._began or now
        await asyncio.sleep(max(0.0, self._began + self._count / self._fps - now))
        width, height = self._size
        rows = np.arange(height)[:, None, None] + np.arange(width)[None, :, None] + 4 * self._count
        picture = np.broadcast_to(rows % 256, (height, width, 3)).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = self._count * 90_000 // self._fps, Fraction(1, 90_000)
        self._count += 1
        return frame


class Client:
    """A page without a browser: sends a camera, receives what comes back, speaks on the control channel."""

    def __init__(self, url: str, camera: MediaStreamTrack | None = None) -> None:
        self.url = url
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.camera = camera or Camera()
        self.connection.addTrack(self.camera)
        self.channel = self.connection.createDataChannel("control")
        self.messages: list[dict[str, Any]] = []
        self.channel.on("message", lambda text: self.messages.append(json.loads(text)))
        self.tracks: list[MediaStreamTrack] = []
        self.connection.on("track", self.tracks.append)
        self.session: dict[str, Any] = {}

    async def offer(self) -> str:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return self.connection.localDescription.sdp

    async def open(self, **settings: Any) -> Client:
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as http:
            response = await http.post("/api/sessions", json={"sdp": await self.offer(), "settings": settings})
        assert response.status_code == 201, response.text
        self.session = response.json()
        await self.connection.setRemoteDescription(RTCSessionDescription(self.session["sdp"], "answer"))
        return self

    async def frames(self, count: int) -> list[av.VideoFrame]:
        return [await asyncio.wait_for(self.tracks[0].recv(), 20) for _ in range(count)]

    async def message(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """Wait for a message of this kind that has these values."""
        for _ in range(1000):
            for message in self.messages:
                if message["type"] == kind and all(message.get(k) == v for k, v in wanted.items()):
                    return message
            await asyncio.sleep(0.02)
        raise AssertionError(f"no {kind} {wanted} in {self.messages[-3:]}")

    async def close(self) -> None:
        await self.connection.close()


class Viewer:
    """A WHEP player."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connection.addTransceiver("video", direction="recvonly")
        self.tracks: list[MediaStreamTrack] = []
        self.connection.on("track", self.tracks.append)
        self.response: httpx.Response | None = None

    async def open(self, path: str) -> Viewer:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as http:
            self.response = await http.post(
                path,
                content=self.connection.localDescription.sdp,
                headers={"content-type": "application/sdp"},
            )
        assert self.response.status_code == 201, self.response.text
        await self.connection.setRemoteDescription(RTCSessionDescription(self.response.text, "answer"))
        return self

    async def frames(self, count: int) -> list[av.VideoFrame]:
        return [await asyncio.wait_for(self.tracks[0].recv(), 20) for _ in range(count)]

    async def close(self) -> None:
        await self.connection.close()
