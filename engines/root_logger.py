"""OpenVINO's converter and NNCF set the root logger to their own taste; this gives it back."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def root_logger_kept() -> Generator[None]:
    """Give the root logger back its level, its handlers and theirs: other messages of the program go there."""
    root = logging.getLogger()
    level, handlers = root.level, [(handler, handler.level) for handler in root.handlers]
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = [handler for handler, _ in handlers]
        for handler, its in handlers:
            handler.setLevel(its)
