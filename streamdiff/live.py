"""LiveStream: the asynchronous input/output queue around a Stream, with its one worker thread (ALGORITHMS 4)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from enum import Enum
from typing import Any, Generic

from streamdiff.changes import Changes
from streamdiff.channel import Channel
from streamdiff.errors import ClosedError, ConfigError
from streamdiff.frame import Frame
from streamdiff.metrics import Metrics
from streamdiff.picture import check_pixels, to_pixels
from streamdiff.streaming import C, Streaming

log = logging.getLogger("streamdiff.live")

MOST_SPREAD = 0.25
"""Seconds between two frames of a burst, at most."""

SPREAD = 0.9
"""Share of the time since the burst before over which a burst is spread: the next one must not meet its end."""

MOST_FAILURES = 10
"""Frames in a row that may fail in a live stream before it ends with the error."""


class Policy(str, Enum):
    """What happens when one side is faster than the other."""

    live = "live"
    """Newest frame wins at every stage; what is overtaken is dropped and counted; latency cannot grow."""
    lossless = "lossless"
    """Every frame in gives a frame out; the faster side waits."""


class LiveStream(Generic[C]):
    """Runs a Stream or a RollingStream in a thread of its own; used from asyncio.

    ::

        async with LiveStream(stream) as live:
            live.push(frame)                 # never waits
            async for frame in live: ...

    Frames come out with the times and identity they went in with. ``push`` may be called from any thread; everything
    else belongs to the event loop that opened it. The Stream is the LiveStream's alone until it closes, and is then the
    caller's again, emptied.

    Attributes:
        metrics: counters and latencies, from capture (or push, where a frame has no capture time) to delivery.
    """

    def __init__(
        self, stream: Streaming[C], policy: Policy | str = Policy.live, *, capacity: int | None = None
    ) -> None:
        """Wrap a stream.

        Args:
            stream: what does the work.
            policy: live or lossless.
            capacity: frames that may wait on either side of the model; by default 1 (the newest), or one burst, before
                it and 2 after when live, 4 and 4 when lossless.
        """
        self._stream = stream
        self._policy = Policy(policy)
        if capacity is not None and capacity < 1:
            raise ConfigError(f"capacity = {capacity}: at least one frame has to fit")
        self._capacity = capacity
        # When the last burst came, and how long after the one before it.
        self._burst_at, self._burst_after = -math.inf, 0.0
        self.metrics = Metrics()
        self._changes = Changes(stream)
        self._error: BaseException | None = None
        self._count = 0
        self._thread: threading.Thread | None = None
        self._closed = False

    async def __aenter__(self) -> LiveStream[C]:
        """Start the worker."""
        if self._thread is not None or self._closed:
            raise ClosedError("a LiveStream is opened once; make a new one")
        loop = asyncio.get_running_loop()
        lossless = self._policy is Policy.lossless
        self._input: Channel[tuple[Frame, int]] = Channel(self._capacity or (4 if lossless else 1), loop)
        self._output: Channel[tuple[Frame, float]] = Channel(self._capacity or (4 if lossless else 2), loop)
        self._fit_input()
        self._left = asyncio.Event()
        self._loop = loop
        self._thread = threading.Thread(target=self._work, name="streamdiff-model", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def config(self) -> C:
        """The settings of the next frame that enters."""
        return self._changes.config

    @property
    def on_refused(self) -> Callable[[str], None] | None:
        """Told, in the worker's thread, of settings that validated and could not be built; ``config`` is then what it
        was before them."""
        return self._changes.on_refused

    @on_refused.setter
    def on_refused(self, told: Callable[[str], None] | None) -> None:
        self._changes.on_refused = told

    def push(self, frame: Frame | Any) -> bool:
        """Offer a frame; never waits, whatever the policy.

        Args:
            frame: a Frame, or a picture as ``Stream.__call__`` takes it.

        Returns:
            Whether it was taken without another being dropped for it.

        Raises:
            ClosedError: after ``end`` or ``close``.
            PictureError: not a picture.
            Exception: the error that ended the stream.
        """
        channel = self._open_input()
        if channel.finished:
            self._raise_error()
            raise ClosedError("the live stream has ended; it takes no more frames")
        overtaken = channel.offer(self._accept(frame))
        if overtaken is not None:
            with self.metrics.lock:
                self.metrics.dropped_in += 1
        return overtaken is None

    async def put(self, frame: Frame | Any) -> None:
        """Give a frame, waiting until there is room for it; none is ever dropped for it.

        Raises:
            ClosedError: after ``end`` or ``close``, or when the stream ended with an error meanwhile.
            PictureError: not a picture.
        """
        channel, entered = self._open_input(), False
        accepted = self._accept(frame)
        try:
            entered = await channel.put(accepted)
        finally:
            if not entered:
                with self.metrics.lock:
                    self.metrics.dropped_in += 1
        if not entered:
            self._raise_error()
            raise ClosedError("the live stream ended while a frame was waiting to enter")

    def update(self, /, **settings: Any) -> None:
        """Change settings for the frames that enter from now on; never waits.

        Raises:
            ConfigError: unknown name or value out of bounds; nothing has changed.
        """
        self._changes.make(settings)

    def end(self) -> None:
        """No more input: what is in is finished, and the iteration then ends."""
        if self._thread is not None:
            self._input.finish()

    async def close(self) -> None:
        """Stop in the middle of anything, as soon as the model can: after the step, or the building, it is at.

        What is inside is thrown away, and with it changes that no frame came in after. May be called again.
        """
        self._closed = True
        if self._thread is None:
            return
        self._input.abort()
        self._output.abort()
        # The model cannot be interrupted within a step; the loop goes on meanwhile, and no thread of its pool waits.
        await self._left.wait()
        self._thread.join()

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        """The next finished frame.

        Raises:
            StopAsyncIteration: the input has ended and all is delivered, or the stream was closed.
            Exception: the error that ended the stream.
        """
        if self._thread is None:
            raise ClosedError("open the live stream first: async with LiveStream(stream) as live")
        taken = await self._output.take()
        if taken is None:
            self._raise_error()
            raise StopAsyncIteration
        frame, due = taken
        if (early := due - time.monotonic()) > 0:
            try:
                await asyncio.sleep(early)
            except BaseException:
                self._output.give_back(taken)  # who asked does not wait any more; the next who asks gets it
                raise
        now = time.monotonic()
        with self.metrics.lock:
            self.metrics.frames_out += 1
            self.metrics.rate_out.tick(now)
            if frame.captured is not None:
                self.metrics.latency.add(now - frame.captured)
        return frame

    def _open_input(self) -> Channel[tuple[Frame, int]]:
        if self._thread is None or self._closed:
            raise ClosedError("the live stream is not open: async with LiveStream(stream) as live")
        return self._input

    def _accept(self, frame: Frame | Any) -> tuple[Frame, int]:
        """The frame as it goes in, and the number of changes made before it."""
        now, numbered = time.monotonic(), True
        if isinstance(frame, Frame):
            check_pixels(frame.pixels)
            if frame.pixels.flags.writeable:
                frame = frame.with_pixels(frame.pixels.copy())  # it waits, and a camera fills its array again
        else:
            frame, numbered = Frame(to_pixels(frame)[0].copy()), False
        with self.metrics.lock:
            if not numbered:
                frame = replace(frame, index=self._count)
            self._count += 1
            self.metrics.frames_in += 1
            self.metrics.rate_in.tick(now)
        made = self._changes.stamp()
        return (frame if frame.captured is not None else replace(frame, captured=now)), made

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    # The worker's side.

    def _work(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self._error = error
        finally:
            try:
                self._stream.reset()
            except Exception as error:
                self._error = self._error or error
            self._input.abort()
            self._output.finish()
            with contextlib.suppress(RuntimeError):  # the loop may be gone, and with it whoever would wait
                self._loop.call_soon_threadsafe(self._left.set)

    def _run(self) -> None:
        failures = 0
        while (taken := self._input.take_blocking()) is not None:
            frame, made = taken
            lost = self._stream.lost
            try:
                burst = self._stream.burst
                if not self._input.aborted:
                    self._changes.apply(made)
                    self._fit_input()
                started = time.monotonic()
                finished = self._stream.push(frame)
                elapsed = time.monotonic() - started
            except Exception as error:
                failures += 1
                self._bear(error, self._stream.lost - lost, failures)
                self._changes.agree(error)
                log.error("frame %d failed, %d lost: %s", frame.index, self._stream.lost - lost, error)
                continue
            if any(not done.repeated for done in finished):
                failures = 0  # a frame that only waits for its buffer to fill tells nothing
                with self.metrics.lock:
                    self.metrics.model.add(elapsed / self._stream.burst)
            if not self._deliver(finished, burst=max(burst, self._stream.burst)):
                return
        while not self._input.aborted:
            lost = self._stream.lost
            try:
                for finished in self._stream.drain():
                    # Nothing comes after these: there is no reason to drop any, and whoever is there takes them.
                    if not self._deliver(finished, last=True):
                        return
                return
            except Exception as error:
                failures += 1
                self._bear(error, self._stream.lost - lost, failures)
                log.error("%d of the last frames lost: %s", self._stream.lost - lost, error)

    def _bear(self, error: Exception, lost: int, failures: int) -> None:
        """Count the frames that an error has cost, and raise it where it is the last of too many in a row."""
        with self.metrics.lock:
            self.metrics.failed += lost
        if self._policy is Policy.lossless or failures >= MOST_FAILURES:
            raise error

    def _fit_input(self) -> None:
        """Let one burst wait while the model is busy with the one before: its frames then follow closely in time."""
        if self._policy is Policy.live and self._capacity is None:
            self._input.capacity = self._stream.burst

    def _deliver(self, frames: list[Frame], *, burst: int = 1, last: bool = False) -> bool:
        """Hand frames to the consumer; False when nobody takes them any more."""
        with self.metrics.lock:
            self.metrics.skipped += sum(frame.repeated for frame in frames)
        if self._policy is Policy.lossless or last:
            return all(self._output.put_blocking((frame, -math.inf)) for frame in frames)
        now = time.monotonic()
        spacing = 0.0
        if len(frames) > 1 and burst > 1:
            # Shown all at once, only the last of them would be seen.
            # The shorter of the last two spacings: after a pause the next burst comes sooner than this one did.
            after = now - self._burst_at
            spacing = min(SPREAD * min(after, self._burst_after) / len(frames), MOST_SPREAD)
            self._burst_at, self._burst_after = now, after
        dropped = self._output.offer_all([(frame, now + i * spacing) for i, frame in enumerate(frames)])
        with self.metrics.lock:
            self.metrics.dropped_out += dropped
        return True
