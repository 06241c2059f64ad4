"""Tests that keep real time have the machine to themselves, whatever the other worker would do."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import ReadWriteLock


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """With several workers (pytest-xdist), a test marked ``alone`` runs while no other does."""
    worker: dict[str, str] | None = getattr(item.config, "workerinput", None)
    if worker is None:
        return (yield)
    lock = ReadWriteLock(Path(tempfile.gettempdir()) / f"streamdiff-tests-{worker['testrunuid']}")
    with lock.write_lock() if item.get_closest_marker("alone") else lock.read_lock():
        return (yield)
