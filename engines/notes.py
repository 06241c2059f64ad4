"""Notes beside the engines in the cache: for whom each was built, and whether it may be chosen by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from engines.base import Network
from engines.cache import cache_directory, write_atomically

SUFFIX = ".json"

BESIDE = (SUFFIX, ".lock", ".part", ".data", ".jit")
"""Endings of what belongs to an engine of the same name."""


@dataclass(frozen=True)
class Note:
    """What is known of one file of the cache.

    Attributes:
        model: as the user named it.
        network: "unet" and so on.
        engine: the runtime's name.
        precision: of its arithmetic.
        shapes: of the inputs, by name.
        made: UTC, ISO 8601.
        chosen: of eight bits: whether it is used where no precision is asked for; None where that is no question.
        figures: what was measured when it was built.
    """

    model: str
    network: str
    engine: str
    precision: str
    shapes: Mapping[str, tuple[int, ...]]
    made: str
    chosen: bool | None = None
    figures: Mapping[str, float] = field(default_factory=dict[str, float])

    @classmethod
    def of(cls, network: Network, engine: str, precision: str, **more: Any) -> Note:
        """The note of a network built now."""
        shapes = {i.name: i.shape for i in network.inputs}
        made = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return cls(network.model, network.name, engine, precision, shapes, made, **more)


@dataclass(frozen=True)
class Kept:
    """An engine in the cache.

    Attributes:
        path: its file.
        bytes: size of all its files.
        note: None for one without, of an earlier version.
    """

    path: Path
    bytes: int
    note: Note | None


def write_note(path: Path, note: Note) -> None:
    """Keep a note beside an engine's file."""
    write_atomically(_note(path), json.dumps(asdict(note), indent=1).encode())


def read_note(path: Path) -> Note | None:
    """The note of an engine's file; None where there is none that can be read."""
    try:
        read: Any = json.loads(_note(path).read_text("utf-8"))
        shapes = {str(name): tuple(shape) for name, shape in read.pop("shapes").items()}
        return Note(**read, shapes=shapes)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def note_of(path: Path) -> Note | None:
    """What is known of an engine that is kept; None where there is none, or none that is known."""
    return read_note(path) if path.is_file() else None


def note_measured(path: Path, chosen: bool, figures: Mapping[str, float]) -> None:
    """Add to an engine's note what was measured, and whether it may be chosen by itself; nothing where it has none."""
    if (note := note_of(path)) is not None:
        write_note(path, replace(note, chosen=chosen, figures=dict(figures)))


def kept() -> list[Kept]:
    """All engines in the cache, the newest last."""
    folder = cache_directory()
    if not folder.is_dir():
        return []
    mains = [path for path in folder.iterdir() if path.is_file() and path.suffix not in BESIDE and "-" in path.name]
    found = [Kept(path, sum(p.stat().st_size for p in _files(path)), read_note(path)) for path in mains]
    return sorted(found, key=lambda item: item.path.stat().st_mtime)


def remove(item: Kept) -> None:
    """Delete an engine and what belongs to it.

    Raises:
        OSError: a file cannot be deleted.
    """
    # The engine first: one that is whole must not lose what belongs to it.
    for path in sorted(_files(item.path), key=lambda p: p.suffix in BESIDE):
        path.unlink(missing_ok=True)


def _files(path: Path) -> list[Path]:
    return [file for file in path.parent.glob(f"{path.stem}.*") if file.is_file()]


def _note(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)
