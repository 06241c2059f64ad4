"""CUDA graphs: work on fixed tensors, recorded once and replayed by a single call.

Who runs a recorded graph needs nothing of PyTorch's or Python's time between its kernels. The price: it reads and
writes the memory that it was recorded with, so whatever goes in and out is copied to and from fixed tensors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any, Protocol

import torch

capturing = threading.RLock()
"""Held by whoever captures: PyTorch allows one capture in a process at a time. Taken before any lock of an engine that
may be wanted while capturing."""

WARM = 3
"""Runs before a capture: compilation, choice of kernels and workspaces must not happen within one."""

Replay = Callable[[], None]


class Graphs(Protocol):
    """What an engine asks of the device; the tests put the CPU in its place."""

    def record(self, work: Callable[[], None]) -> Replay:
        """Run work a few times, record it, and give what replays it on the caller's stream.

        Args:
            work: reads and writes fixed tensors alone, in inference mode; what it does in Python happens only now.

        Raises:
            RuntimeError: torch's own, from the work or from the capture.
        """
        ...

    def turns(self) -> AbstractContextManager[object]:
        """Make what is entered around each use of tensors that several callers share."""
        ...


_here = threading.local()


def recording() -> bool:
    """Whether this thread is recording work: engines that are part of it run plainly, not by graphs of their own."""
    return getattr(_here, "recording", False)


@contextmanager
def as_recording() -> Generator[None]:
    """For the time of a recording, of which there is one at a time."""
    with capturing:
        before = recording()
        _here.recording = True
        try:
            yield
        finally:
            _here.recording = before


class CudaGraphs:
    """Graphs of one owner on one device. They share their memory, so that no two of them may run at once."""

    def __init__(self, device: torch.device) -> None:
        """Take a CUDA device, with its index."""
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    @torch.inference_mode()
    def record(self, work: Callable[[], None]) -> Replay:
        """As ``Graphs`` says."""
        with as_recording(), torch.cuda.device(self._device):
            caller = torch.cuda.current_stream()
            self._stream.wait_stream(caller)
            try:
                # Twice the same stream: the inner one is not undone where a capture fails.
                with torch.cuda.stream(self._stream):
                    with best_kernels():
                        for _ in range(WARM):
                            work()
                    graph = captured(work, self._device, self._stream, self._pool)
            except BaseException:
                self._pool = torch.cuda.graph_pool_handle()  # the old one may be the failed capture's for ever
                raise
            finally:
                caller.wait_stream(self._stream)
        return partial(_replay, graph, work)

    def turns(self) -> AbstractContextManager[object]:
        """As ``Graphs`` says."""
        return _Turns(self._device)


def captured(
    work: Callable[[], None], device: torch.device, stream: torch.cuda.Stream, pool: Any
) -> torch.cuda.CUDAGraph:
    """Capture work once; for who has run it before, and holds ``capturing``.

    Args:
        work: queues on the stream, and allocates from the pool.
        device: with its index.
        stream: the current one.
        pool: a ``graph_pool_handle()``; not to be used again where this fails.

    Raises:
        BaseException: the work's own; else RuntimeError, the capture's.
    """
    graph = torch.cuda.CUDAGraph()
    failed: BaseException | None = None
    try:
        # Other threads go on allocating meanwhile, which the default mode would make an error.
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            try:
                work()
            except BaseException as error:
                failed = error
                raise
    except BaseException as error:
        # A capture that could not be ended is under way for ever, as the allocator sees it.
        end = getattr(torch._C, "_cuda_endAllocateToPool", None)  # pyright: ignore[reportPrivateUsage]
        if end is not None:
            with suppress(RuntimeError):
                end(device.index, pool)
        # What went wrong within it, and not that it could then not be ended.
        raise (failed or error) from None
    return graph


def _replay(graph: torch.cuda.CUDAGraph, _: Callable[[], None]) -> None:
    """The work goes along because it holds the tensors whose addresses the graph has."""
    graph.replay()


class _Turns:
    """Callers take turns: threads by a lock, their streams by an event."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._done = torch.cuda.Event()

    def __enter__(self) -> None:
        self._lock.acquire()
        try:
            torch.cuda.current_stream(self._device).wait_event(self._done)
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self._done.record(torch.cuda.current_stream(self._device))
        finally:
            self._lock.release()


@contextmanager
def best_kernels() -> Generator[None]:
    """cuDNN measures its convolutions when it first meets them, and goes on with the fastest.

    Not for a capture, nor beside one: measuring waits for the whole device.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
