"""How failures reach the user: one line on stderr and an exit code, never a traceback unless it is asked for."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

from apps.cli.console import error_line, print_line

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130
"""After Ctrl-C, as shells have it."""


def debugging() -> bool:
    """Whether tracebacks and logs are wanted."""
    return os.environ.get("STREAMDIFF_DEBUG", "") not in ("", "0")


def guarded(program: Callable[[], Any]) -> int:
    """Run a program; every failure becomes one line on stderr and a code.

    Returns:
        0 done, 1 failed, 2 wrong usage, 130 interrupted, 128 + n stopped by signal n.
    """
    _stop_cleanly()
    try:
        result = program()
        code = result if isinstance(result, int) else 0
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            error_line("interrupted")
        return code
    except _Stopped as stop:
        error_line("stopped")
        return 128 + stop.signal
    except KeyboardInterrupt:
        error_line("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if debugging() and not hasattr(error, "format_message"):
            raise
        return _explained(error)


def set_up_logging() -> None:
    """Log lines on stderr: warnings of ours, or everything when debugging."""
    root = logging.getLogger()
    root.handlers = [_Lines()]
    root.setLevel(logging.INFO if debugging() else logging.ERROR)
    logging.getLogger("streamdiff").setLevel(logging.DEBUG if debugging() else logging.WARNING)
    if not debugging():
        # These have handlers of their own, and advice for programmers. Read when they are imported, which is later.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
        # Deprecations inside other packages are nothing a user can act on.
        warnings.simplefilter("ignore")


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print_line(f"{record.levelname.lower()}: {record.getMessage()}", sys.stderr)


class _Stopped(SystemExit):
    """A signal asked us to stop. Of SystemExit's kind, because event loops let only that and Ctrl-C through."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = number


def _stop(number: int, _frame: Any) -> None:
    raise _Stopped(number)


def _stop_cleanly() -> None:
    # A polite request to stop ends like Ctrl-C does: with what was half written removed.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            try:
                signal.signal(getattr(signal, name), _stop)
            except ValueError:
                return  # not the main thread: whoever runs us there takes care of signals


def _explained(error: Exception) -> int:
    kind = type(error).__name__
    if kind == "Abort":  # older typers turn Ctrl-C into this
        error_line("interrupted")
        return INTERRUPTED
    if hasattr(error, "format_message"):  # click's own: wrong usage
        message = str(error.format_message()).rstrip(".")
        if message:
            context = getattr(error, "ctx", None)
            command = context.command_path if context is not None else "streamdiff"
            error_line(f"{message} (see {command} --help)")
        return int(getattr(error, "exit_code", WRONG_USAGE))
    if _expected(error):
        error_line(_words(error))
    else:
        error_line(f"{kind}: {_words(error)[:300]} (a fault of the program; STREAMDIFF_DEBUG=1 shows where)")
    return FAILED


def _expected(error: Exception) -> bool:
    from streamdiff.errors import StreamdiffError

    # Imported only if something else was: it comes with PyTorch.
    engines = sys.modules.get("engines.errors")
    known: tuple[type[Exception], ...] = (StreamdiffError, OSError)
    return isinstance(error, (*known, engines.EngineError) if engines is not None else known)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__
