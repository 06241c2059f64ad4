"""A new process that makes one frame, then some more: what ``streamdiff bench`` starts to time a start.

It prints a line when the first frame is there, and its peak memory as JSON at the end.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main(arguments: list[str]) -> None:
    """Run with ``{"choice": …, "frames": n}`` as the only argument."""
    wanted: dict[str, Any] = json.loads(arguments[0])
    from apps.loading import Choice, open_stream

    choice = Choice(**{**wanted["choice"], "lora": tuple(wanted["choice"]["lora"])})
    import numpy as np

    from streamdiff.frame import Frame

    with open_stream(choice) as stream:
        frame = Frame(np.full((stream.config.height, stream.config.width, 3), 128, np.uint8))
        while not stream.push(frame):
            pass
        _print("first")
        for _ in range(int(wanted["frames"])):
            stream.push(frame)
    from apps.machine import peak_memory_mb

    _print(json.dumps({"peak_memory_mb": peak_memory_mb()}))


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
