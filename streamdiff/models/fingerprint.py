"""Fingerprints of weights: what names a model in the engine cache, and a cheap look at whether a file is whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from streamdiff.errors import ModelError

WHOLE = 256 * 2**20
"""Files up to this size, in bytes, are hashed whole. Larger ones would cost seconds at each start: in the hub's cache
they are named by their contents' digest already, and elsewhere the size, the time of change and ``SAMPLES`` pieces
stand for them. A copy with another time is compiled anew, which is safe; a file changed in place is never taken for
what it was.
"""

SAMPLES = 64
PIECE = 2**16
BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""File names in the hub's cache: git's SHA-1 or the SHA-256 of large files."""


def fingerprint(files: Iterable[tuple[str, Path]], *parts: object) -> str:
    """Digest of files' contents, each under the role it plays, and of anything in ``parts``.

    Where a file lies and what it is called does not matter, unless its role says so.

    Raises:
        ModelError: a file cannot be read.
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=16)
    for role, path in sorted(files, key=lambda item: item[0]):
        try:
            digest.update(f"{role!r}".encode())
            _add(digest, path)
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()


def _add(digest: hashlib.blake2b, path: Path) -> None:
    stat = path.stat()
    digest.update(stat.st_size.to_bytes(8, "little"))
    if stat.st_size > WHOLE:
        if BLOB.fullmatch(path.resolve().name):
            digest.update(path.resolve().name.encode())
            return
        digest.update(stat.st_mtime_ns.to_bytes(8, "little", signed=True))
    with path.open("rb") as file:
        if stat.st_size <= WHOLE:
            while chunk := file.read(2**20):
                digest.update(chunk)
            return
        for i in range(SAMPLES):
            file.seek((stat.st_size - PIECE) * i // (SAMPLES - 1))
            digest.update(file.read(PIECE))


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
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ModelError(f"{path} is not a safetensors file; download or save it again") from None
    if size < 8 + length + end:
        raise ModelError(f"{path} is cut short ({size} of {8 + length + end} bytes); download it again")
    return header


def safetensors_metadata(path: Path) -> dict[str, str]:
    """What its writer noted in a safetensors file; the file has been looked at by ``safetensors_header``."""
    with path.open("rb") as file:
        header: Any = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    noted: Any = header.get("__metadata__")
    return {str(k): str(v) for k, v in cast("dict[Any, Any]", noted).items()} if isinstance(noted, dict) else {}


def check_digests(folder: Path) -> None:
    """Compare files with the SHA-256 digests in a folder's ``checksums.json``; none there, nothing is compared.

    Raises:
        ModelError: a file is missing or damaged.
    """
    listing = folder / "checksums.json"
    if not listing.is_file():
        return
    try:
        expected = cast("dict[str, str]", json.loads(listing.read_text("utf-8"))["sha256"])
        damaged = [
            name
            for name, digest in expected.items()
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        damaged = [listing.name]
    if damaged:
        names = ", ".join(damaged)
        raise ModelError(
            f"the model {folder.name} is damaged ({names}); install streamdiff again, or copy the folder again"
        )
