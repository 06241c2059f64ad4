"""Where built engines are kept between runs: one file each in the user's cache, named by all that changes it."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

import platformdirs

from engines.base import Network

log = logging.getLogger("streamdiff.engines")


def cache_directory() -> Path:
    """``STREAMDIFF_CACHE`` where set, else the platform's cache directory for this user; not created here."""
    chosen = os.environ.get("STREAMDIFF_CACHE")
    base = Path(chosen) if chosen else Path(platformdirs.user_cache_dir("streamdiff", appauthor=False))
    return base / "engines"


def cache_file(network: Network, suffix: str, *parts: object) -> Path:
    """The file of one engine: its network's name, and a digest of its weights, shapes and everything in ``parts``."""
    identity = repr((network.key, network.name, network.inputs, parts))
    digest = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
    return cache_directory() / f"{network.name}-{digest}{suffix}"


def write_atomically(path: Path, data: bytes) -> None:
    """Keep an engine. A cache that cannot be written costs the next start some seconds, so it is said and not fatal."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        _warn(path, error)


def can_keep(path: Path) -> bool:
    """Whether a file can be written there, for engines that write their own; its folder is made. If not, it is said."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            return True
    except OSError as error:
        _warn(path, error)
        return False


def _warn(path: Path, error: OSError) -> None:
    log.warning("the engine cache %s cannot be written (%s)", path.parent, error.strerror)
