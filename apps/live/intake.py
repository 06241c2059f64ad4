"""Intake: reads a source in a thread of its own, and opens it again as often as it is lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from apps.live.backoff import Backoff
from apps.live.clock import Clock
from apps.sources.source import OpenSource, Sound, Source
from streamdiff.errors import ClosedError, DeviceError
from streamdiff.frame import Frame
from streamdiff.picture import cover

log = logging.getLogger("streamdiff.live")

STALLED = 5.0
"""Seconds without a piece after which a source is said to have stalled."""

PATIENCE = 2.0
"""Seconds that a source has for ending its read, twice."""

ABANDONED = 12.0
"""Seconds after which a source that hangs is given up, with its thread, and another is opened."""


class Intake:
    """One source, for as long as the run lasts.

    Attributes:
        state: "running", "stalled", "lost" (being opened again), "ended", or "failed".
        read: pictures read.
        reopened: times it was opened again.
        error: why it failed for good.
    """

    def __init__(
        self,
        source: Source,
        again: OpenSource,
        size: Callable[[], tuple[int, int]],
        take: Callable[[Frame], None],
        take_sound: Callable[[Sound], None],
        tell: Callable[[str], None],
        ended: Callable[[], None],
    ) -> None:
        """Prepare; ``start`` begins to read.

        Args:
            source: opened already.
            again: opens it again.
            size: width and height that the model wants now.
            take: gets every picture, scaled, with its source's picture as ``tag``.
            take_sound: gets every sound.
            tell: gets one line for everything that happens.
            ended: called once, from the reading thread, when nothing more will come.
        """
        self.state = "running"
        self.read = 0
        self.reopened = 0
        self.error: BaseException | None = None
        self.name = source.name
        self._source: Source | None = source
        self._again = again
        self._size, self._take, self._take_sound = size, take, take_sound
        self._tell, self._ended = tell, ended
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._generation = 0
        self._waiting_since: float | None = None
        self._clock = Clock(time.monotonic())
        self._backoff = Backoff()

    def start(self) -> None:
        """Begin to read."""
        self._read_in_thread(self._generation)

    def stop(self) -> None:
        """Read no more; never waits."""
        self._stopped.set()

    def join(self) -> None:
        """Wait until the source is closed; one that hangs in its read is closed under it, and left behind."""
        self._stopped.set()
        if self._thread is None:
            return
        self._thread.join(PATIENCE)
        source = self._source
        if self._thread.is_alive() and source is not None:
            threading.Thread(target=self._close, args=(source,), name="streamdiff-close", daemon=True).start()
            self._thread.join(PATIENCE)

    def watch(self, now: float) -> None:
        """Look whether the source still gives anything; asked regularly."""
        since = self._waiting_since
        if self._stopped.is_set() or since is None or now - since < STALLED:
            return
        if self.state == "running":
            self.state = "stalled"
            self._tell(f"{self.name}: nothing has come for {now - since:.0f} s; waiting")
        if now - since > ABANDONED:
            with self._lock:
                self._generation += 1
                generation, source = self._generation, self._source
                self._source = self._waiting_since = None
            self._tell(f"{self.name}: hangs; opening it again")
            if source is not None:  # a hanging device may hang in its close, too
                threading.Thread(target=self._close, args=(source,), name="streamdiff-close", daemon=True).start()
            self.state = "lost"
            self._read_in_thread(generation)

    def _read_in_thread(self, generation: int) -> None:
        self._thread = threading.Thread(target=self._work, args=(generation,), name="streamdiff-source", daemon=True)
        self._thread.start()

    def _work(self, generation: int) -> None:
        while self._current(generation):
            try:
                source = self._source or self._reopen(generation)
                if source is None:
                    break
                if not self._read_one(source, generation):
                    self._finish("ended", generation)
                    return
            except ClosedError:  # the model takes no more: the run is over
                self._finish("ended", generation)
                return
            except DeviceError as error:
                self._lose(str(error), generation)
            except Exception as error:
                log.debug("reading %s", self.name, exc_info=True)
                if self._source is None:
                    self.error = error
                    self._finish("failed", generation)
                    return
                self._lose(f"{self.name}: {type(error).__name__}: {error}", generation)
        self._release(generation)

    def _read_one(self, source: Source, generation: int) -> bool:
        """Pass one piece on; False at the source's end."""
        self._waiting_since = time.monotonic()
        piece = source.read()
        if not self._current(generation):
            return True  # somebody else reads by now
        self._waiting_since = None
        if piece is None:
            return False
        if self.state != "running":
            self.state = "running"
            self._tell(f"{self.name}: is back")
        self._backoff.succeeded()
        if isinstance(piece, Sound):
            placed = self._clock.sound(piece.pts, piece.seconds, time.monotonic())
            if placed is not None:
                self._take_sound(replace(piece, pts=placed))
            return True
        captured = piece.captured if piece.captured is not None else time.monotonic()
        pts = self._clock.picture(piece.pts, captured, source.waits, 1 / (source.rate or 30))
        pixels = cover(piece.pixels, *self._size())
        pixels.flags.writeable = False
        self._take(Frame(pixels, pts=pts, captured=captured, index=self.read, tag=pixels))
        self.read += 1
        return True

    def _reopen(self, generation: int) -> Source | None:
        """Wait, and try once."""
        if not self._backoff.wait(self._stopped) or not self._current(generation):
            return None
        source = self._again()
        with self._lock:
            current = self._generation == generation
            if current:
                self._source = source
        if not current:
            self._close(source)
            return None
        self._clock.begin()
        self.name = source.name
        self.reopened += 1
        return source

    def _release(self, generation: int) -> bool:
        """Close the source, unless another thread has the reading by now; whether it was this one's."""
        with self._lock:
            if self._generation != generation:
                return False
            source, self._source = self._source, None
            self._waiting_since = None
        if source is not None:
            self._close(source)
        return True

    def _lose(self, text: str, generation: int) -> None:
        if not self._release(generation) or self._stopped.is_set():
            return
        if self.state != "lost":
            self._tell(f"{text}; opening it again")
        self.state = "lost"

    def _close(self, source: Source) -> None:
        try:
            source.close()
        except Exception as error:
            self._tell(f"{source.name}: did not close ({error})")

    def _finish(self, state: str, generation: int) -> None:
        if self._release(generation):
            self.state = state
            self._ended()

    def _current(self, generation: int) -> bool:
        return self._generation == generation and not self._stopped.is_set()
