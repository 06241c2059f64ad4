"""Plans on disk: built by one process at a time, read only when whole."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from engines.cache import write_atomically
from engines.tensorrt.builder import Plan

log = logging.getLogger("streamdiff.engines")

SUFFIX = ".plan"


def facts_file(path: Path) -> Path:
    """The JSON file beside a plan: what it is, for the program and for a curious person."""
    return path.with_suffix(".json")


def jit_file(path: Path) -> Path:
    """The file beside a plan with the kernels that TensorRT-RTX compiled for it when it first ran."""
    return path.with_suffix(".jit")


def kept(path: Path, about: str, make: Callable[[], Plan]) -> Plan:
    """The plan of this file, or else a new one, which is then kept there.

    Processes and threads that want the same plan at once wait for the first of them, which builds it.

    Args:
        path: the file, named by everything that changes the plan.
        about: one line for a person who looks into the cache.
        make: builds it.
    """
    if (plan := read(path)) is not None:
        return plan
    with _alone(path):
        # Whoever held the lock before may have built just this one.
        if (plan := read(path)) is None:
            plan = make()
            _write(path, plan, about)
    return plan


def read(path: Path) -> Plan | None:
    """The plan of this file; None when it is not there, or not as it was written."""
    try:
        if not path.is_file():
            return None
        facts: dict[str, Any] = json.loads(facts_file(path).read_text("utf-8"))
        data = path.read_bytes()
        # A damaged plan can end the process that loads it, so it is never handed on.
        if hashlib.sha256(data).hexdigest() != facts["sha256"]:
            raise ValueError("it is damaged")
        weights = {str(name): tuple(int(n) for n in shape) for name, shape in facts["weights"].items()}
        return Plan(data, int(facts["layers"]), dict(facts["precisions"]), weights)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("cached engine %s cannot be used (%s); building it again", path.name, error)
        return None


def _write(path: Path, plan: Plan, about: str) -> None:
    facts = {
        "about": about,
        "sha256": hashlib.sha256(plan.data).hexdigest(),
        "layers": plan.layers,
        "precisions": plan.precisions,
        "weights": plan.weights,
    }
    # The facts first: a plan that is there has them.
    write_atomically(facts_file(path), json.dumps(facts, indent=1).encode())
    write_atomically(path, plan.data)


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """No other process or thread builds this file meanwhile. The lock goes when its process ends, however it ends."""
    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        log.info("another process builds %s; waiting for it", path.stem)
        lock.acquire()
    except OSError as error:
        # Where no file can be made nothing can be kept either, which ``write_atomically`` says.
        log.debug("no lock for %s (%s)", path.name, error)
    try:
        yield
    finally:
        lock.release()
