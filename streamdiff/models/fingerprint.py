"""Fingerprints of weights: what names a model in the engine cache, and a cheap look at whether a file is whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from streamdiff.errors import ModelError

WHOLE = 256 * 2**20
"""Files up to this size, in bytes, are hashed whole; of larger ones the header, the size and ``SAMPLES`` pieces.

Two trainings of a model differ in nearly every weight, so pieces tell them apart, and a 5 GB file needs no 5 s at each
start.
"""

SAMPLES = 64
PIECE = 2**16


def fingerprint(files: Iterable[Path], *parts: object) -> str:
    """Digest of the files' contents and names, and of anything in ``parts``; the folder they lie in does not matter."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=16)
    for path in sorted(files, key=lambda p: (p.parent.name, p.name)):
        digest.update(f"{path.parent.name}/{path.name}".encode())
        size = path.stat().st_size
        digest.update(size.to_bytes(8, "little"))
        with path.open("rb") as file:
            if size <= WHOLE:
                while chunk := file.read(2**20):
                    digest.update(chunk)
                continue
            for i in range(SAMPLES):
                file.seek((size - PIECE) * i // (SAMPLES - 1))
                digest.update(file.read(PIECE))
    return digest.hexdigest()


def safetensors_header(path: Path) -> dict[str, dict[str, Any]]:
    """Names, types and shapes of a safetensors file's tensors, after checking that all of its bytes are there.

    Raises:
        ModelError: missing, not a safetensors file, or cut short.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, 2**27):
                raise ValueError("no header")
            header = cast("dict[str, dict[str, Any]]", json.loads(file.read(length)))
        header.pop("__metadata__", None)
        end = max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
    except OSError as error:
        raise ModelError(f"{path}: {os.strerror(error.errno) if error.errno else error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError):
        raise ModelError(f"{path} is not a safetensors file; download or save it again") from None
    if size < 8 + length + end:
        raise ModelError(f"{path} is cut short ({size} of {8 + length + end} bytes); download it again")
    return header
