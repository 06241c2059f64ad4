"""Metrics: what a running stream counts and times. Constant memory, however long it runs."""

from __future__ import annotations

import math
import threading
import time


class Histogram:
    """Durations in logarithmic buckets, 2.5% wide, from 10 microseconds to about 1,000 seconds."""

    _LEAST = 1e-5
    _RATIO = math.log(1.025)
    _BUCKETS = 750

    def __init__(self) -> None:
        self._counts = [0] * self._BUCKETS
        self.count = 0
        self.total = 0.0
        self.largest = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration; what is negative (clocks disagree) counts as zero."""
        seconds = max(0.0, seconds)
        bucket = int(math.log(max(seconds, self._LEAST) / self._LEAST) / self._RATIO)
        self._counts[min(bucket, self._BUCKETS - 1)] += 1
        self.count += 1
        self.total += seconds
        self.largest = max(self.largest, seconds)

    def percentile(self, percent: float) -> float:
        """The duration in seconds below which ``percent`` of all lie, to 1.3%; NaN when there are none."""
        if not self.count:
            return math.nan
        wanted = self.count * percent / 100
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(self.largest, self._LEAST * math.exp((bucket + 0.5) * self._RATIO))
        return self.largest

    def at_most(self, seconds: float) -> int:
        """How many durations were not longer than this, to a bucket's width."""
        if seconds < self._LEAST:
            return 0
        return sum(self._counts[: int(math.log(seconds / self._LEAST) / self._RATIO) + 1])

    @property
    def mean(self) -> float:
        """Seconds; NaN when there are none."""
        return self.total / self.count if self.count else math.nan


class Rate:
    """Events per second over the last seconds, as an exponential average."""

    def __init__(self, horizon: float = 2.0) -> None:
        self._horizon = horizon
        self._last: float | None = None
        self._interval = math.nan

    def tick(self, now: float | None = None) -> None:
        """An event happened (at ``now``, ``time.monotonic`` seconds)."""
        now = time.monotonic() if now is None else now
        if self._last is not None:
            interval = max(now - self._last, 1e-6)
            weight = 1 - math.exp(-interval / self._horizon)
            known = not math.isnan(self._interval)
            self._interval = self._interval + weight * (interval - self._interval) if known else interval
        self._last = now

    def per_second(self, now: float | None = None) -> float:
        """The rate; falls towards zero by itself when nothing happens."""
        if self._last is None or math.isnan(self._interval):
            return 0.0
        now = time.monotonic() if now is None else now
        return 1.0 / max(self._interval, now - self._last)


class Metrics:
    """Counters of one LiveStream; read from any thread.

    Attributes:
        frames_in: frames offered.
        frames_out: frames delivered to the consumer.
        dropped: overtaken before the model (``dropped_in``) or before the consumer (``dropped_out``).
        skipped: outputs repeated by the similarity filter.
        failed: frames lost to an error of the model.
        latency: capture to delivery, seconds.
        model: seconds the model worked for a frame, of those that enter together each its share.
        rate_in, rate_out: frames per second.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.frames_in = 0
        self.frames_out = 0
        self.dropped_in = 0
        self.dropped_out = 0
        self.skipped = 0
        self.failed = 0
        self.latency = Histogram()
        self.model = Histogram()
        self.rate_in = Rate()
        self.rate_out = Rate()

    @property
    def dropped(self) -> int:
        """All frames that were overtaken."""
        return self.dropped_in + self.dropped_out

    def snapshot(self) -> dict[str, float | int]:
        """The figures of this moment, times in seconds; NaN where nothing was measured yet."""
        with self.lock:
            return {
                "frames_in": self.frames_in,
                "frames_out": self.frames_out,
                "dropped_in": self.dropped_in,
                "dropped_out": self.dropped_out,
                "skipped": self.skipped,
                "failed": self.failed,
                "fps_in": self.rate_in.per_second(),
                "fps_out": self.rate_out.per_second(),
                "latency_p50": self.latency.percentile(50),
                "latency_p95": self.latency.percentile(95),
                "model_p50": self.model.percentile(50),
            }
