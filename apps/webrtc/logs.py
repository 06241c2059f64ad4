"""The server's log: what happened, and to which session. Lines for people, or JSON for machines."""

from __future__ import annotations

import json
import logging
import sys
import time

log = logging.getLogger("streamdiff.serve")


def told(session: str, event: str, *values: object, level: int = logging.INFO) -> None:
    """Note an event of a session."""
    log.log(level, event, *values, extra={"session": session})


class Lines(logging.Handler):
    """Writes records on stderr: ``12:30:01 info k3x9 opened``, or as one JSON object a line."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        """Write one."""
        session = getattr(record, "session", None)
        level, text = record.levelname.lower(), record.getMessage()
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        if self._as_json:
            entry: dict[str, object] = {"time": round(record.created, 3), "level": level, "session": session}
            entry |= {"event": text, **({"trace": trace} if trace else {})}
            line = json.dumps(entry, ensure_ascii=False)
        else:
            clock = time.strftime("%H:%M:%S", time.localtime(record.created))
            line = " ".join(part for part in (clock, level, session, text) if part) + (f"\n{trace}" if trace else "")
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def install(*, as_json: bool) -> None:
    """Log who comes and goes."""
    log.handlers = [Lines(as_json=as_json)]
    log.setLevel(logging.INFO)
    log.propagate = False
