"""The terminal: single keys as they are pressed, and the terminal as it was afterwards."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

NAMES = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left",
    "\x1bOA": "up", "\x1bOB": "down", "\x1bOC": "right", "\x1bOD": "left",
    "\x1bOP": "f1", "\x1bOQ": "f2", "\x1bOR": "f3", "\x1bOS": "f4",
    "\x1b[15~": "f5", "\x1b[17~": "f6", "\x1b[18~": "f7", "\x1b[19~": "f8", "\x1b[20~": "f9", "\x1b[21~": "f10",
    "\xe0H": "up", "\xe0P": "down", "\xe0M": "right", "\xe0K": "left",
    **{f"\x00{chr(59 + i)}": f"f{i + 1}" for i in range(10)},
    "\x1b": "escape", " ": "space",
}  # fmt: skip
"""What terminals send for a key; those that begin with \\xe0 and \\x00 are Windows' console."""

POLL = 0.1


class TerminalKeys:
    """Reads keys from the terminal while it is entered; does nothing where there is none, or another has it."""

    def __init__(self, press: Callable[[str], None]) -> None:
        self._press = press
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._before: Any = None

    def __enter__(self) -> TerminalKeys:
        """Begin: the terminal gives single keys and shows none."""
        if sys.stdin is None or not sys.stdin.isatty():
            return self
        if sys.platform != "win32":
            import termios
            import tty

            if _in_background(sys.stdin.fileno()):
                return self  # the shell stops whoever touches its terminal from there
            self._before = termios.tcgetattr(sys.stdin.fileno())
            tty.setcbreak(sys.stdin.fileno())
        self._thread = threading.Thread(target=self._work, name="streamdiff-keys", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """The terminal is as it was."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        if sys.platform != "win32" and self._before is not None:
            import termios

            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._before)

    def _work(self) -> None:
        while not self._stopped.is_set():
            for key in split(_pressed(self._stopped)):
                self._press(key)


def split(text: str) -> list[str]:
    """The keys in what a terminal sent at once, by name; sequences that are not known are left out."""
    keys: list[str] = []
    while text:
        for length in range(min(5, len(text)), 0, -1):
            if text[:length] in NAMES and not (text[:length] == "\x1b" and len(text) > 1 and text[1] in "[O"):
                keys.append(NAMES[text[:length]])
                text = text[length:]
                break
        else:
            if text[0] == "\x1b":  # a sequence of another key: up to its last character
                end = next((i for i, c in enumerate(text[2:], 2) if c.isalpha() or c == "~"), len(text) - 1)
                text = text[end + 1 :]
                continue
            if text[0].isprintable():
                keys.append(text[0])
            text = text[1:]
    return keys


def _in_background(terminal: int) -> bool:
    """Whether another process group has the terminal."""
    try:
        return os.tcgetpgrp(terminal) != os.getpgrp()
    except OSError:  # not this session's: nobody's jobs are controlled on it
        return False


def _pressed(stopped: threading.Event) -> str:
    """What was pressed since, waiting a moment for it."""
    if sys.platform == "win32":
        import msvcrt

        if not msvcrt.kbhit():
            stopped.wait(POLL)
            return ""
        text = msvcrt.getwch()
        return text + msvcrt.getwch() if text in "\x00\xe0" else text
    import select

    ready, _, _ = select.select([sys.stdin], [], [], POLL)
    if not ready:
        return ""
    text = os.read(sys.stdin.fileno(), 64).decode("utf-8", "ignore")
    if not text:  # the terminal has gone
        stopped.set()
    return text
