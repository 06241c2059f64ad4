"""Show: a source, a stream and its sinks, running together until it is stopped; what steers it sees ``Controlled``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apps.live.intake import Intake
from apps.live.outlet import Outlet
from apps.run_config import RunConfig
from apps.sinks.sink import OpenSink, Picture, Sink
from apps.sources.source import OpenSource, Sound, Source
from streamdiff.errors import ClosedError
from streamdiff.frame import Frame
from streamdiff.live import LiveStream, Policy
from streamdiff.streaming import Streaming

log = logging.getLogger("streamdiff.live")

LOOK = 0.5
"""Seconds between two looks at whether everything still moves."""

COMPLETING = 10.0
"""Seconds that a sink has for completing what it has begun."""

MESSAGES = 100


class Show:
    """One run. It owns a thread with an event loop, one for the source and one for each sink; all end with it.

    Attributes:
        on_message: told of every message, from any thread.
    """

    def __init__(
        self,
        stream: Streaming[RunConfig],
        source: OpenSource,
        sinks: Sequence[OpenSink],
    ) -> None:
        """Prepare; ``start`` opens everything.

        Args:
            stream: does the work; its own again, emptied, after ``join``.
            source: opens the source.
            sinks: open the sinks, at least one.
        """
        self._stream = stream
        self._open_source, self._open_sinks = source, list(sinks)
        self.on_message: Callable[[str], None] = lambda _: None
        self._messages: deque[str] = deque(maxlen=MESSAGES)
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._live: LiveStream[RunConfig] | None = None
        self._intake: Intake | None = None
        self._outlets: list[Outlet] = []
        self._limited_by = "source"
        self._seen: dict[str, int] = {}
        self._started = math.nan

    # What steers it: Controlled.

    @property
    def config(self) -> RunConfig:
        """The settings in use."""
        return self._live.config if self._live is not None else self._stream.config

    def update(self, settings: Mapping[str, Any]) -> RunConfig:
        """Change settings; see ``Controlled``."""
        if self._live is None:
            raise ClosedError("the run has not been started")
        self._live.update(**settings)
        return self._live.config

    def figures(self) -> dict[str, Any]:
        """What is measured; see ``Controlled``."""
        live, intake = self._live, self._intake
        if live is None or intake is None:
            raise ClosedError("the run has not been started")
        measured: dict[str, Any] = live.metrics.snapshot()
        counts = ("frames_in", "frames_out", "dropped_in", "dropped_out", "skipped", "failed")
        model = {name: measured.pop(name) for name in counts}
        numbers = {k: None if math.isnan(v) else v for k, v in measured.items()}
        return {
            **numbers,
            "limited_by": self._limited_by,
            "seconds": time.monotonic() - self._started,
            "source": {
                "name": intake.name,
                "state": intake.state,
                "read": intake.read,
                "reopened": intake.reopened,
            },
            "model": model,
            "sinks": [outlet.figures() for outlet in self._outlets],
        }

    def messages(self) -> list[str]:
        """The last lines of what happened, oldest first."""
        return list(self._messages)

    def stop(self) -> None:
        """End the run, completing every sink; from any thread, as often as one likes."""
        self._stopping.set()

    # The run.

    @property
    def running(self) -> bool:
        """It has begun and not yet ended."""
        return self._thread is not None and not self._ended.is_set()

    def start(self) -> None:
        """Open everything and begin.

        Raises:
            ConfigError, MediaError, DeviceError: the source or a sink cannot be opened; nothing stays open.
        """
        with contextlib.ExitStack() as opened:
            source = self._open_source()
            opened.callback(source.close)
            config = self._stream.config
            picture = Picture(config.width, config.height, source.rate or 30.0, source.has_sound)
            sinks: list[Sink] = []
            for open_sink in self._open_sinks:
                sinks.append(open_sink(picture))
                opened.callback(sinks[-1].close)
            opened.pop_all()
        ready = threading.Event()
        self._started = time.monotonic()
        self._thread = threading.Thread(
            target=self._work, args=(source, sinks, picture, ready), name="streamdiff-live", daemon=True
        )
        self._thread.start()
        ready.wait()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the run has ended; whether it has."""
        return self._ended.wait(seconds)

    def join(self) -> None:
        """Stop, wait until every sink is completed, and raise what ended the run, if it was an error."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def tell(self, text: str) -> None:
        """Say what happened, from any thread."""
        self._messages.append(text)
        # Whoever listened may have gone (a closed terminal, a pipe to head): no reason for anything else to end.
        with contextlib.suppress(OSError, ValueError):
            self.on_message(text)

    def _work(self, source: Source, sinks: list[Sink], picture: Picture, ready: threading.Event) -> None:
        try:
            asyncio.run(self._run(source, sinks, picture, ready))
        except BaseException as error:
            self._error = self._error or error
        finally:
            ready.set()
            self._ended.set()

    async def _run(self, source: Source, sinks: list[Sink], picture: Picture, ready: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        policy = Policy.lossless if source.waits else Policy.live
        async with LiveStream(self._stream, policy) as live:
            live.on_refused = self.tell
            self._live = live
            self._outlets = [
                Outlet(sink, again, picture, loop, self.tell, failed=self._sink_failed)
                for sink, again in zip(sinks, self._open_sinks, strict=True)
            ]

            def take(frame: Frame) -> None:
                if policy is Policy.lossless:
                    asyncio.run_coroutine_threadsafe(live.put(frame), loop).result()
                else:
                    live.push(frame)

            def take_sound(sound: Sound) -> None:
                for outlet in self._outlets:
                    outlet.sound(sound)

            def ended() -> None:
                with contextlib.suppress(RuntimeError):  # the loop has ended before
                    loop.call_soon_threadsafe(live.end)

            self._intake = Intake(source, self._open_source, self._size, take, take_sound, self.tell, ended)
            for outlet in self._outlets:
                outlet.start()
            self._intake.start()
            ready.set()
            watching = asyncio.create_task(self._watch(live))
            try:
                async for frame in live:
                    for outlet in self._outlets:
                        if policy is Policy.lossless:
                            await outlet.put(frame)
                        else:
                            outlet.offer(frame)
            finally:
                watching.cancel()
                await asyncio.to_thread(self._intake.join)
                for outlet in self._outlets:
                    outlet.finish()
                for outlet in self._outlets:
                    await asyncio.to_thread(outlet.join, COMPLETING)
        self._error = self._error or self._intake.error

    def _size(self) -> tuple[int, int]:
        return self.config.width, self.config.height

    async def _watch(self, live: LiveStream[RunConfig]) -> None:
        """End the input when asked to stop; look after source and sinks meanwhile."""
        looked = 0.0
        while not self._stopping.is_set():
            await asyncio.sleep(0.05)
            now = time.monotonic()
            if now - looked < LOOK:
                continue
            looked = now
            assert self._intake is not None
            self._intake.watch(now)
            for outlet in self._outlets:
                outlet.watch(now)
            self._look(live)
        assert self._intake is not None
        self._intake.stop()
        live.end()

    def _look(self, live: LiveStream[RunConfig]) -> None:
        """See what limits the run since the last look."""
        counts = {
            "model": live.metrics.dropped_in,
            "sink": live.metrics.dropped_out + sum(outlet.overtaken for outlet in self._outlets),
        }
        recent = {name: value - self._seen.get(name, 0) for name, value in counts.items()}
        self._seen = counts
        worst = max(recent, key=lambda name: recent[name])
        self._limited_by = worst if recent[worst] > 0 else "source"

    def _sink_failed(self) -> None:
        """A sink is gone for good: the others go on, and without any the run ends."""
        failed = [outlet for outlet in self._outlets if outlet.state == "failed"]
        self.tell(f"{failed[-1].name}: is gone for good ({failed[-1].error})")
        if len(failed) == len(self._outlets):
            self._error = failed[-1].error
            self.stop()
