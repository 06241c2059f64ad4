"""Running commands in the tests' own process: a new one costs seconds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from apps.cli.failures import guarded
from apps.cli.main import app


class Result:
    """What a command said and did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        assert "Traceback" not in out + err

    def refused(self, says: str, code: int = 1) -> None:
        """One clear line, and the right exit code."""
        assert self.code == code, self.err
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("streamdiff: error: "), self.err
        assert says in lines[0]


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    """A command sets up logging for its own process."""
    loggers = [logging.getLogger(), logging.getLogger("streamdiff")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], logging_as_it_was: None) -> Any:
    """Runs a command in this process as ``main`` does."""

    def run(*words: object) -> Result:
        capsys.readouterr()
        code = guarded(lambda: app([str(w) for w in words], prog_name="streamdiff", standalone_mode=False))
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run
