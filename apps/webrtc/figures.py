"""/metrics: the server's figures for Prometheus, read from the sessions when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from apps.webrtc.sessions import Sessions
    from streamdiff.metrics import Histogram

BOUNDS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0)


class _Figures(Collector):
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def collect(self) -> Iterable[Metric]:
        """Prometheus asks."""
        sessions = self._sessions
        yield _gauge("sessions", "Sessions now", len(sessions))
        yield _gauge("viewers", "Viewers now", sum(len(s.viewers) for s in sessions))
        yield _gauge("waiting", "Streams that wait for the model now", sessions.turns.waiting)
        yield _counter("sessions_opened", "Sessions opened", sessions.opened)
        yield _counter("sessions_ended", "Sessions ended", sessions.ended)
        rate_in = GaugeMetricFamily("streamdiff_fps_in", "Frames per second from the source", labels=["session"])
        rate_out = GaugeMetricFamily("streamdiff_fps_out", "Frames per second delivered", labels=["session"])
        drops = CounterMetricFamily("streamdiff_dropped_frames", "Frames dropped", labels=["session", "stage"])
        latency = HistogramMetricFamily(
            "streamdiff_latency_seconds", "From the decoder to the encoder", labels=["session"]
        )
        model = HistogramMetricFamily("streamdiff_model_seconds", "Time in the model, a frame", labels=["session"])
        for session in sessions:
            stats, metrics = session.stats(), session.live.metrics
            rate_in.add_metric([session.id], stats["fps_in"])
            rate_out.add_metric([session.id], stats["fps_out"])
            for stage in ("dropped_in", "dropped_out", "failed"):
                drops.add_metric([session.id, stage], stats[stage])
            with metrics.lock:
                latency.add_metric([session.id], *_buckets(metrics.latency))
                model.add_metric([session.id], *_buckets(metrics.model))
        yield from (rate_in, rate_out, drops, latency, model)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"streamdiff_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"streamdiff_{name}", text, value=value)


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    counts = [(str(bound), float(histogram.at_most(bound))) for bound in BOUNDS]
    return [*counts, ("+Inf", float(histogram.count))], histogram.total


def exposition(sessions: Sessions) -> bytes:
    """The figures in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Figures(sessions))
    return generate_latest(registry)
