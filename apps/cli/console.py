"""What the commands say: results on stdout; progress, hints and errors on stderr, each on one line."""

from __future__ import annotations

import re
import sys
from typing import Any


def console(*, stderr: bool = False) -> Any:
    """A rich console that writes to the stream of this moment (tests exchange them)."""
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=True, highlight=False, emoji=False)


def say(text: str) -> None:
    """A result."""
    print_line(text, sys.stdout)


def note(text: str) -> None:
    """Something worth knowing that is no error."""
    print_line(f"note: {text}", sys.stderr)


def warn(text: str) -> None:
    """Something that went less well than it should."""
    print_line(f"warning: {text}", sys.stderr)


def error_line(text: str) -> None:
    """Why the command ended; always exactly one line."""
    print_line(f"streamdiff: error: {text}", sys.stderr)


def print_line(text: str, to: Any) -> None:
    """Print text on one line; characters that the terminal cannot show, or would obey, are escaped."""
    line = re.sub(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", text.strip())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    encoding = getattr(to, "encoding", None) or "utf-8"
    to.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    to.flush()


def shortened(text: str, length: int = 60) -> str:
    """A text for a message, quoted, and cut where it is long."""
    text = " ".join(text.split())
    return f'"{text}"' if len(text) <= length else f'"{text[: length - 1]}…"'
