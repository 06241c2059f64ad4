"""Ordinary priority for an encoder that takes the highest."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def kept() -> Generator[None]:
    """Whatever is opened within gets no real-time priority, nor gives it to this thread.

    SVT-AV1 sets its threads and the one that opens it to SCHED_FIFO, 99, where it may (as root on Linux; containers run
    so): beside it no model, no camera and no browser that is started later would get a core.
    """
    before = _real_time()
    try:
        yield
    finally:
        for thread in _real_time() - before:
            with contextlib.suppress(OSError):  # it has ended
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def _real_time() -> set[int]:
    """This process's threads that do not share the cores with others."""
    if sys.platform != "linux":
        return set()
    found: set[int] = set()
    for entry in Path("/proc/self/task").iterdir():
        thread = int(entry.name)
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(thread) in (os.SCHED_FIFO, os.SCHED_RR):
                found.add(thread)
    return found
