"""What is asked of CUDA, and in which order: over a torch.cuda that writes it down."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator

import numpy as np
import pytest
import torch
from torch import Tensor

import engines.cuda_engine
from engines import EngineError
from engines.cuda_engine import CudaRuntime, CudaStep
from engines.graphs import WARM, CudaGraphs, as_recording, capturing, recording

CUDA = torch.device("cuda:0")


class FakeCuda:
    """Streams, events and captures; each stream's work is done at once, and its waiting written down."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.capture_fails = False
        fake = self

        class Stream:
            made = 0

            def __init__(self, device: object = None, name: str | None = None, priority: int = 0) -> None:
                Stream.made += 1
                self.priority = priority
                self.name = name or f"s{Stream.made}"

            def wait_stream(self, other: Stream) -> None:
                fake.events.append(f"{self.name} waits for {other.name}")

            def wait_event(self, event: Event) -> None:
                fake.events.append(f"{self.name} waits for {event.what}")

        class Event:
            what = "nothing"

            def record(self, stream: Stream | None = None) -> None:
                self.what = f"an event of {(stream or fake.stream).name}"
                fake.events.append(self.what)

            def synchronize(self) -> None:
                fake.events.append(f"the host waits for {self.what}")

        class Graph:
            def replay(self) -> None:
                fake.events.append(f"replay on {fake.stream.name}")

        self.stream = Stream(name="caller")

        @contextlib.contextmanager
        def on(stream: Stream) -> Generator[None]:
            before, self.stream = self.stream, stream
            try:
                yield
            finally:
                self.stream = before

        class Capture:
            def __init__(self, graph: Graph, pool: object, stream: Stream, capture_error_mode: str) -> None:
                self.stream = stream
                assert pool == "pool" and capture_error_mode == "thread_local"

            def __enter__(self) -> None:
                fake.stream = self.stream
                fake.events.append("capture")

            def __exit__(self, *_: object) -> None:
                # As torch does: what fails at the end leaves the stream of the capture in place.
                if fake.capture_fails:
                    raise RuntimeError("operation not permitted when stream is capturing\nmore")

        patches = {
            "Stream": Stream, "Event": Event, "CUDAGraph": Graph, "stream": on, "graph": Capture,
            "current_stream": lambda device=None: self.stream, "graph_pool_handle": lambda: "pool",
            "device": lambda device: contextlib.nullcontext(),
        }  # fmt: skip
        for name, patch in patches.items():
            monkeypatch.setattr(torch.cuda, name, patch)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return FakeCuda(monkeypatch)


def test_warmed_on_a_side_stream_and_captured_once(cuda: FakeCuda) -> None:
    def work() -> None:
        assert recording() and torch.is_inference_mode_enabled()
        # Measuring kernels waits for the device, which no capture survives.
        assert torch.backends.cudnn.benchmark == ("capture" not in cuda.events)
        cuda.events.append(f"work on {cuda.stream.name}")

    before = torch.backends.cudnn.benchmark
    graphs = CudaGraphs(CUDA)
    side = graphs._stream.name
    replay = graphs.record(work)
    warm = [f"work on {side}"] * WARM
    assert cuda.events == [
        f"{side} waits for caller", *warm, "capture", f"work on {side}", f"caller waits for {side}",
    ]  # fmt: skip
    assert (recording(), torch.backends.cudnn.benchmark, cuda.stream.name) == (False, before, "caller")
    cuda.events.clear()
    replay()
    assert cuda.events == ["replay on caller"]


def test_a_capture_that_fails_leaves_everything_as_it_was(cuda: FakeCuda) -> None:
    cuda.capture_fails = True
    with pytest.raises(RuntimeError, match="not permitted"):
        CudaGraphs(CUDA).record(lambda: None)
    assert cuda.stream.name == "caller" and not recording()
    assert cuda.events[-1].startswith("caller waits for")
    free: list[bool] = []

    def other() -> None:
        free.append(capturing.acquire(timeout=5))
        capturing.release()

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert free == [True]


def test_a_capture_says_what_went_wrong_in_it_and_leaves_no_pool_behind(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = iter(["pool", "another"])
    ended: list[tuple[int, str]] = []
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(pools))
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", lambda *given: ended.append(given), raising=False)
    cuda.capture_fails = True  # as CUDA does when what was captured has failed

    def work() -> None:
        if "capture" in cuda.events:
            raise torch.OutOfMemoryError("CUDA out of memory")

    graphs = CudaGraphs(CUDA)
    with pytest.raises(torch.OutOfMemoryError):
        graphs.record(work)
    assert ended == [(0, "pool")] and graphs._pool == "another"


def test_a_device_that_is_lost_lets_the_next_caller_in(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = CudaGraphs(CUDA).turns()

    def lost(event: object) -> None:
        raise RuntimeError("the device has gone")

    for _ in range(2):  # an error each time, and no waiting for a lock that nobody gives back
        with monkeypatch.context() as patch:
            patch.setattr(cuda.stream, "wait_event", lost, raising=False)
            with pytest.raises(RuntimeError, match="gone"), turns:
                pass


def test_one_recording_at_a_time() -> None:
    inside, order = threading.Event(), []

    def second() -> None:
        inside.wait(5)
        with as_recording():
            order.append("second")

    thread = threading.Thread(target=second)
    with as_recording():
        thread.start()
        inside.set()
        thread.join(0.2)
        with as_recording():
            order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_the_next_callers_stream_waits_for_the_last_one(cuda: FakeCuda) -> None:
    turns = CudaGraphs(CUDA).turns()
    with turns:
        pass
    with torch.cuda.stream(torch.cuda.Stream(CUDA)), turns:
        name = torch.cuda.current_stream().name
    assert cuda.events == [
        "caller waits for nothing", "an event of caller", f"{name} waits for an event of caller", f"an event of {name}",
    ]  # fmt: skip


def test_a_turn_ends_with_an_error_too(cuda: FakeCuda) -> None:
    turns = CudaGraphs(CUDA).turns()
    with pytest.raises(ValueError, match="no"), turns:
        raise ValueError("no")
    with turns:
        assert cuda.events[-1] == "caller waits for an event of caller"


def unpinned(like: Tensor) -> Tensor:
    return torch.empty_like(like)


def test_a_step_copies_on_its_own_stream_and_waits_once(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.cuda_engine, "_pinned", unpinned)
    given, made = torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(2, 3, dtype=torch.uint8)

    def replay() -> None:
        cuda.events.append(f"replay on {cuda.stream.name}")
        made.copy_(given + 1)

    step = CudaStep(replay, given, made)
    copies = step._copies.name
    assert step._copies.priority != CudaGraphs(CUDA)._stream.priority  # the same stream could be a capture's
    rows = [np.array([1, 2, 3], np.uint8), np.array([4, 5, 6], np.uint8)]
    first = step(rows)
    assert cuda.events == [
        f"caller waits for {copies}", "replay on caller", f"{copies} waits for caller", f"an event of {copies}",
        f"the host waits for an event of {copies}",
    ]  # fmt: skip
    rows[0][:] = 9
    second = step(rows)
    assert first.tolist() == [[2, 3, 4], [5, 6, 7]]
    assert second.tolist() == [[10, 10, 10], [5, 6, 7]]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "not enough memory"),
        (RuntimeError("no\nmore"), r"recorded \(no\)"),
    ],
)
def test_a_step_that_cannot_be_recorded_says_why(cuda: FakeCuda, error: Exception, says: str) -> None:
    runtime = CudaRuntime.__new__(CudaRuntime)
    runtime.device = CUDA

    def work() -> None:
        raise error

    with pytest.raises(EngineError, match=says) as caught:
        runtime.record(work, torch.zeros(1), torch.zeros(1))
    assert "\n" not in str(caught.value)
