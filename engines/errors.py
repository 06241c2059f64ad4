"""Errors of the engines; ``streamdiff.errors`` is above this package and cannot be imported from here."""

from __future__ import annotations


class EngineError(RuntimeError):
    """An engine is unknown, cannot run here, or failed to build; the message is one line that says what to do."""


def last_line(error: BaseException) -> str:
    """The last line of an error's text, which says most in those of compilers; short enough to show."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
