"""Outlet: writes to a sink in a thread of its own, and opens it again when it is lost."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from apps.live.backoff import Backoff
from apps.sinks.sink import OpenSink, Picture, Sink
from apps.sources.source import Sound
from streamdiff.channel import Channel
from streamdiff.errors import DeviceError
from streamdiff.frame import Frame
from streamdiff.metrics import Histogram, Rate
from streamdiff.picture import cover

log = logging.getLogger("streamdiff.live")

CAPACITY = 2
STALLED = 5.0
"""Seconds in one write after which a sink is said to block."""

STEADY = 5.0
"""Seconds that a sink opened again must hold before it counts as working: what is buffered fails later."""

SOUND_KEPT = 600.0
"""Seconds of sound kept while no picture comes (115 MB); a recording of a screen may hold one picture for long."""


class Outlet:
    """One sink, for as long as the run lasts.

    Attributes:
        state: "running", "blocked", "lost" (being opened again), "closed", "incomplete" (what it had begun could not be
            finished), or "failed".
        delivered: pictures written.
        overtaken: pictures a newer one took the place of, while the sink was busy.
        lost: pictures that came while there was no sink, or that it failed on.
        reopened: times it was opened again.
        latency: capture to the end of the write, seconds.
        error: why it failed for good.
    """

    def __init__(
        self,
        sink: Sink,
        again: OpenSink,
        picture: Picture,
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[str], None],
        *,
        failed: Callable[[], None],
    ) -> None:
        self.name = sink.name
        self.state = "running"
        self.delivered = self.overtaken = self.lost = self.reopened = 0
        self.latency, self.rate = Histogram(), Rate()
        self.error: BaseException | None = None
        self._sink: Sink | None = sink
        self._again, self._picture, self._tell, self._failed = again, picture, tell, failed
        self._frames: Channel[Frame] = Channel(CAPACITY, loop)
        self._sounds: deque[Sound] = deque()
        self._lock = threading.Lock()
        self._writing_since: float | None = None
        self._retry_at = 0.0
        self._opened_at = -math.inf
        self._silenced = False  # sound was left out, which is still to be said
        self._broken = False  # something that was begun could not be finished
        self._zero: float | None = 0.0  # the run's time at which this sink's begins; None until its first picture
        self._backoff = Backoff()
        self._thread = threading.Thread(target=self._work, name=f"streamdiff-sink-{sink.name}", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def offer(self, frame: Frame) -> None:
        """Give a picture; the newest wins."""
        taken = self._frames.offer(frame)
        if taken is frame:
            self.lost += 1
        elif taken is not None:
            self.overtaken += 1

    async def put(self, frame: Frame) -> None:
        """Give a picture, waiting for a sink that is slow, but not for one that blocks."""
        while self.state == "running" and len(self._frames) >= CAPACITY and not self._is_stalled(time.monotonic()):
            await asyncio.sleep(0.002)
        self.offer(frame)

    def sound(self, sound: Sound) -> None:
        """Give sound, from any thread; it waits for the picture it belongs to."""
        sink = self._sink
        if sink is None or not sink.takes_sound:
            return
        with self._lock:
            self._sounds.append(sound)
            while sound.pts - self._sounds[0].pts > SOUND_KEPT:
                self._sounds.popleft()
                self._silenced = True

    def watch(self, now: float) -> None:
        """Look whether the sink still takes anything; asked regularly."""
        if self._silenced:
            self._silenced = False
            self._tell(f"{self.name}: no picture came for {SOUND_KEPT:.0f} s; sound before that was left out")
        if self._is_stalled(now) and self.state == "running":
            self.state = "blocked"
            self._tell(f"{self.name}: has taken nothing for {STALLED:.0f} s; the others go on")

    def _is_stalled(self, now: float) -> bool:
        since = self._writing_since
        return since is not None and now - since > STALLED

    def finish(self) -> None:
        """Nothing more comes: what waits is written, sound too, and the sink completed."""
        self._frames.finish()

    def join(self, seconds: float) -> None:
        """Wait until it is completed; a sink that hangs is left behind, and said so."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            self.state = "incomplete"
            self._tell(f"{self.name}: hangs and was left behind")

    def figures(self) -> dict[str, Any]:
        """State and counts, as in ``Controlled.figures``."""
        known = self.latency.count > 0
        return {
            "name": self.name,
            "state": self.state,
            "delivered": self.delivered,
            "overtaken": self.overtaken,
            "lost": self.lost,
            "reopened": self.reopened,
            "fps": self.rate.per_second(),
            "latency_p50": self.latency.percentile(50) if known else None,
            "latency_p95": self.latency.percentile(95) if known else None,
        }

    def _work(self) -> None:
        while (frame := self._frames.take_blocking()) is not None:
            try:
                sink = self._sink or self._reopened()
                if sink is None:
                    self.lost += 1
                    continue
                self._write(sink, frame)
            except DeviceError as error:
                self._lose(str(error))
            except Exception as error:
                log.debug("writing %s", self.name, exc_info=True)
                if self._sink is None:
                    self.error, self.state = error, "failed"
                    self.lost += 1 + len(self._frames)
                    self._frames.abort()
                    self._failed()
                    return
                self._lose(f"{self.name}: {type(error).__name__}: {error}")
        self._end_sound()
        self._close()
        self.state = "incomplete" if self._broken else "closed"

    def _write(self, sink: Sink, frame: Frame) -> None:
        self._writing_since = time.monotonic()
        pts = frame.pts or 0.0
        self._zero = zero = pts if self._zero is None else self._zero
        try:
            self._write_sound(sink, zero, pts)
            sink.write(replace(self._fitting(sink, frame), pts=pts - zero))
        finally:
            self._writing_since = None
        now = time.monotonic()
        if self.state != "running":
            self.state = "running"
            self._tell(f"{self.name}: is back")
        if now - self._opened_at > STEADY:
            self._backoff.succeeded()
        self.delivered += 1
        self.rate.tick(now)
        if frame.captured is not None:
            self.latency.add(now - frame.captured)

    def _write_sound(self, sink: Sink, zero: float, until: float) -> None:
        for sound in self._due(until):
            if sound.pts >= zero:
                sink.write_sound(replace(sound, pts=sound.pts - zero))

    def _end_sound(self) -> None:
        """Write what belongs to the last picture, and what goes on after it."""
        if self._sink is None or self._zero is None or not self.delivered:
            return
        self._writing_since = time.monotonic()
        try:
            self._write_sound(self._sink, self._zero, math.inf)
        except Exception as error:
            self._tell(str(error) if isinstance(error, DeviceError) else f"{self.name}: {error}")
        finally:
            self._writing_since = None

    def _due(self, until: float) -> list[Sound]:
        """The sound that begins before a picture's time."""
        due: list[Sound] = []
        with self._lock:
            while self._sounds and self._sounds[0].pts <= until:
                due.append(self._sounds.popleft())
        return due

    def _fitting(self, sink: Sink, frame: Frame) -> Frame:
        size = (sink.width, sink.height)
        before = frame.tag if frame.tag is not None else frame.pixels
        return replace(frame, pixels=cover(frame.pixels, *size), tag=cover(before, *size))

    def _reopened(self) -> Sink | None:
        """Another try, when its time has come."""
        if time.monotonic() < self._retry_at:
            return None
        self._sink = self._again(self._picture)
        self.name = self._sink.name
        self.reopened += 1
        self._opened_at, self._zero = time.monotonic(), None
        with self._lock:
            self._sounds.clear()
        return self._sink

    def _lose(self, text: str) -> None:
        self.lost += 1
        if self.state != "lost":
            self._tell(f"{text}; opening it again")
        self.state = "lost"
        self._close()
        self._retry_at = time.monotonic() + self._backoff.grown()

    def _close(self) -> None:
        """Complete what was begun."""
        sink, self._sink = self._sink, None
        if sink is None:
            return
        try:
            sink.close()
        except Exception as error:
            self._broken = True
            self._tell(str(error) if isinstance(error, DeviceError) else f"{self.name}: {error}")
