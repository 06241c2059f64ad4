"""Errors of the engines; ``streamdiff.errors`` is above this package and cannot be imported from here."""

from __future__ import annotations


class EngineError(RuntimeError):
    """An engine is unknown, cannot run here, or failed to build; the message is one line that says what to do."""
