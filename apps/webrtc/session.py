"""Session: one source, one stream, and whoever watches it."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable
from typing import Any

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from apps.run_config import RunConfig
from apps.webrtc.limits import Limits
from apps.webrtc.logs import told
from apps.webrtc.media import Newest, StylisedTrack
from apps.webrtc.peer import Peer
from apps.webrtc.turns import TurnTakingStream
from streamdiff import ConfigError, LiveStream

Listener = Callable[[dict[str, Any]], None]


class Session:
    """Frames of one source go through one LiveStream; its output is shown to any number of tracks.

    Attributes:
        id: unguessable name.
        peer: the source's connection, once there is one.
        viewers: connections that only watch, by their ids.
        listeners: who hears of changed settings and notices (data channels).
    """

    def __init__(self, stream: TurnTakingStream, limits: Limits, name: str | None = None) -> None:
        """A session of a new name, or of the name of one that has ended."""
        self.id = name or secrets.token_urlsafe(12)
        self.started = time.monotonic()
        self.peer: Peer | None = None
        self.viewers: dict[str, Peer] = {}
        self.listeners: set[Listener] = set()
        self.tracks: set[StylisedTrack] = set()
        self._stream = stream
        self._limits = limits
        self.live = LiveStream(stream)
        self._newest: Newest | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen = {"dropped_in": 0, "overtaken": 0}
        self._limited_by = "source"
        self._resized = -math.inf
        self.ended: Callable[[], None] = lambda: None
        self._closed = False

    async def open(self) -> None:
        """Start the stream."""
        loop = asyncio.get_running_loop()
        self.live.on_refused = lambda text: loop.call_soon_threadsafe(self._refused, text)
        await self.live.__aenter__()
        self._start(self._deliver())

    @property
    def config(self) -> RunConfig:
        """The settings in use."""
        return self.live.config

    def update(self, settings: dict[str, Any], by: Listener | None = None) -> RunConfig:
        """Change settings, and tell the other controllers.

        Raises:
            ConfigError: unknown, out of bounds, or more than this server allows; nothing has changed.
        """
        wanted = self._limits.check(self.config, settings)
        if (wanted.width, wanted.height) != (self.config.width, self.config.height):
            now = time.monotonic()
            if now - self._resized < self._limits.resize_seconds:
                raise ConfigError(f"width, height: once in {self._limits.resize_seconds:.0f} seconds; try again")
            self._resized = now
        self.live.update(**settings)
        self._tell({"type": "settings", "settings": self.config.model_dump(mode="json")}, but=by)
        return self.config

    def take_source(self, track: MediaStreamTrack) -> None:
        """Feed the stream from a track; a session has one source."""
        if self._newest is None:
            self._newest = Newest(track)
            self._start(self._receive(self._newest))

    def new_track(self) -> StylisedTrack:
        """A track that shows the output from now on."""
        track = StylisedTrack()
        self.tracks.add(track)
        track.add_listener("ended", lambda: self.tracks.discard(track))
        return track

    def stats(self) -> dict[str, Any]:
        """The figures of this moment; times in seconds, None where nothing was measured yet."""
        figures: dict[str, Any] = self.live.metrics.snapshot()
        figures = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in figures.items()}
        figures["dropped_in"] += self._newest.overtaken if self._newest else 0
        config = self.config
        return {
            "type": "stats",
            **figures,
            "limited_by": self._limited_by,
            "viewers": len(self.viewers),
            "width": config.width,
            "height": config.height,
        }

    def _look(self) -> None:
        """See what limits the stream since the last look."""
        dropped_in = self.live.metrics.dropped_in + (self._newest.overtaken if self._newest else 0)
        dropped = {"dropped_in": dropped_in, "overtaken": sum(track.overtaken for track in self.tracks)}
        recent = {name: value - self._seen[name] for name, value in dropped.items()}
        self._seen = dropped
        if recent["dropped_in"] > 0:
            self._limited_by = "other sessions" if self._stream.turns.waiting else "model"
        else:
            self._limited_by = "network" if recent["overtaken"] > 1 else "source"

    async def alive(self, now: float) -> bool:
        """Whether the source still speaks, or has just begun to; viewers that have gone are let go. Asked regularly."""
        self._look()
        for viewer in list(self.viewers.values()):
            if not await viewer.alive(now):
                await self.drop_viewer(viewer.id)
        if self._closed or self.peer is None:
            return not self._closed and now - self.started < self._limits.connect_seconds
        return await self.peer.alive(now)

    async def drop_viewer(self, name: str) -> bool:
        """End a viewer's connection; False when there is none of that name."""
        viewer = self.viewers.pop(name, None)
        if viewer is not None:
            await viewer.close()
        return viewer is not None

    async def close(self) -> None:
        """End everything and give the memory back; may be called again."""
        if self._closed:
            return
        self._closed = True
        peers = [p for p in (self.peer, *self.viewers.values()) if p is not None]
        self.viewers.clear()
        for track in list(self.tracks):
            track.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(peer.close() for peer in peers), *self._tasks, return_exceptions=True)
        await self.live.close()
        self._stream.close()
        if self._newest is not None:
            self._newest.close()
        self.listeners.clear()
        told(self.id, "ended after %.0f s", time.monotonic() - self.started)

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _receive(self, newest: Newest) -> None:
        try:
            while True:
                config = self.config
                self.live.push(await newest.next(config.width, config.height))
        except MediaStreamError:
            told(self.id, "its source has ended")
        except Exception as error:
            self._notice(f"the stream has stopped: {error}")
        self.ended()

    async def _deliver(self) -> None:
        try:
            async for frame in self.live:
                for track in list(self.tracks):
                    track.show(frame)
        except Exception as error:
            self._notice(f"the stream has stopped: {error}")
            self.ended()

    def _refused(self, text: str) -> None:
        """Settings that could not be built: whoever controls it hears so, and what is in use instead."""
        self._notice(text)
        self._tell({"type": "settings", "settings": self.config.model_dump(mode="json")})

    def _notice(self, text: str) -> None:
        told(self.id, "%s", text, level=logging.ERROR)
        self._tell({"type": "notice", "text": text})

    def _tell(self, message: dict[str, Any], but: Listener | None = None) -> None:
        for listener in list(self.listeners):
            if listener != but:  # bound methods: equal, never the same object
                listener(message)
