"""Sessions: who is let in, what they share, and when they end."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from aiortc import RTCDataChannel, RTCIceServer

from apps.modes import SharedRolling
from apps.run_config import RunConfig
from apps.webrtc.control import Control
from apps.webrtc.limits import Limits
from apps.webrtc.logs import log, told
from apps.webrtc.peer import Peer
from apps.webrtc.session import Session
from apps.webrtc.turns import Turns, TurnTakingStream
from engines.base import Runtime
from streamdiff.models.base import Model

P = ParamSpec("P")
T = TypeVar("T")

WATCH_SECONDS = 1.0
RETRY_SECONDS = 10
REMEMBERED = 1024
"""Ids of ended sessions that may be taken up again."""


class Full(Exception):
    """No room for another session or viewer now."""


class Sessions:
    """All sessions of a server. The model's weights and engines are shared; everything else is each session's own.

    Attributes:
        model, runtime: what all of them run.
        rolling: what those in the rolling mode run; None: there is none.
        defaults: settings a session begins with.
        limits: the operator's bounds.
        opened, ended: sessions so far.
    """

    def __init__(
        self,
        model: Model,
        runtime: Runtime,
        defaults: RunConfig,
        limits: Limits,
        ice_servers: Sequence[RTCIceServer] = (),
        rolling: SharedRolling | None = None,
    ) -> None:
        self.rolling = rolling
        self.model, self.runtime, self.defaults, self.limits = model, runtime, defaults, limits
        self.ice_servers = tuple(ice_servers)
        self.turns = Turns()
        self.opened = self.ended = 0
        self._sessions: dict[str, Session] = {}
        self._opening = 0
        self._left: OrderedDict[str, None] = OrderedDict()
        self._watch: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[Any]] = set()
        self._pool = ThreadPoolExecutor(4, "streamdiff-open")

    async def start(self) -> None:
        """Begin to watch."""
        self._watch = asyncio.ensure_future(self._watching())

    async def stop(self) -> None:
        """End everything."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for session in self:
            self._end_later(session)
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)
        self._pool.shutdown(wait=False)

    async def in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what takes long (loading, compiling) in a thread of ours: aiortc encodes in the event loop's own pool."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *args, **kwargs))

    def __len__(self) -> int:
        return len(self._sessions) + self._opening

    def __iter__(self) -> Any:
        return iter(list(self._sessions.values()))

    def get(self, name: str) -> Session | None:
        """The session of that id."""
        return self._sessions.get(name)

    async def open(
        self, offer: str, settings: dict[str, Any], *, answers_video: bool, previous: str | None = None
    ) -> tuple[Session, str]:
        """Let a source in.

        Args:
            offer: SDP that sends video.
            settings: fields of RunConfig that differ from the defaults.
            answers_video: whether the stylised video goes back on the same connection.
            previous: id of a session that has ended and goes on in this one.

        Returns:
            The session, and the answer's SDP.

        Raises:
            Full: no room.
            ConfigError: the settings are not valid, or more than the server allows.
            OfferError: the offer cannot be used.
        """
        config = self.limits.check(self.defaults, settings)
        if len(self) >= self.limits.sessions:
            raise Full(f"the server is full ({self.limits.sessions} sessions); try again in a moment")
        self._opening += 1
        try:
            stream = await self.in_thread(self.new_stream, config)
            name = previous if previous in self._left else None
            if name is not None:
                del self._left[name]
            session = Session(stream, self.limits, name)
            try:
                await session.open()
                sdp = await self._connect(session, offer, answers_video)
            except BaseException:
                await session.close()
                if name is not None:
                    self._left[name] = None
                raise
            self._sessions[session.id] = session
        finally:
            self._opening -= 1
        self.opened += 1
        told(session.id, "opened (%d of %d)", len(self), self.limits.sessions)
        return session, sdp

    async def watch(self, session: Session, offer: str) -> tuple[Peer, str]:
        """Let a viewer in.

        Raises:
            Full, OfferError: as ``open``.
        """
        if len(session.viewers) >= self.limits.viewers:
            raise Full(f"this session has {self.limits.viewers} viewers already; try again in a moment")
        viewer = Peer(self.ice_servers, self.limits)
        session.viewers[viewer.id] = viewer
        try:
            sdp = await viewer.answer(offer, session.new_track(), receives=False)
        except BaseException:
            await session.drop_viewer(viewer.id)
            raise
        return viewer, sdp

    async def end(self, name: str) -> bool:
        """End a session; False when there is none of that id."""
        session = self._sessions.get(name)
        return session is not None and await self._finish(session)

    async def _finish(self, session: Session) -> bool:
        """End this session and no later one of its name; False when somebody else is at it."""
        if self._sessions.get(session.id) is not session:
            return False
        del self._sessions[session.id]
        self.ended += 1
        self._left[session.id] = None
        if len(self._left) > REMEMBERED:
            self._left.popitem(last=False)
        closing = asyncio.ensure_future(session.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        await asyncio.shield(closing)  # a client that goes away does not leave it half closed
        return True

    async def _connect(self, session: Session, offer: str, answers_video: bool) -> str:
        peer = session.peer = Peer(self.ice_servers, self.limits)

        def on_track(track: Any) -> None:
            if track.kind == "video":
                session.take_source(track)

        def on_channel(channel: RTCDataChannel) -> None:
            if channel.label == "control":
                Control(channel, session)

        def on_state() -> None:
            if peer.state in ("failed", "closed"):
                self._end_later(session)

        peer.connection.on("track", on_track)
        peer.connection.on("datachannel", on_channel)
        peer.connection.on("connectionstatechange", on_state)
        session.ended = lambda: self._end_later(session)
        return await peer.answer(offer, session.new_track() if answers_video else None, receives=True)

    def _end_later(self, session: Session) -> None:
        """End a session from within one of its own tasks or callbacks."""
        task: asyncio.Task[Any] = asyncio.ensure_future(self._finish(session))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def new_stream(self, config: RunConfig) -> TurnTakingStream:
        """A stream that shares the model and takes its turn."""
        return TurnTakingStream(self.turns, self.model, self.runtime, config, self.rolling)

    async def _watching(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = time.monotonic()
            for session in self:
                try:
                    if not await session.alive(now):
                        told(session.id, "its source is gone")
                        self._end_later(session)
                except Exception:
                    log.exception("it could not be watched", extra={"session": session.id})
