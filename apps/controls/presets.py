"""Presets: a TOML file of settings by name, read again whenever it has changed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from apps.run_config import RunConfig
from apps.toml import plain_names, read_toml
from streamdiff.errors import ConfigError


class Presets:
    """Settings by name::

    [sketch]
    prompt = "pencil sketch"
    strength = 0.6
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read the file; without one there are no presets.

        Raises:
            ConfigError: it cannot be read, or a preset is not one.
        """
        self._path = path
        self._read: dict[str, dict[str, Any]] = {}
        self._changed = 0
        if path is not None:
            self._load(path)

    @property
    def names(self) -> tuple[str, ...]:
        """In the file's order, as it is now; while it is wrong, those it had before."""
        if self._path is not None:
            with contextlib.suppress(ConfigError):  # said when one of them is wanted
                self._load(self._path)
        return tuple(self._read)

    def settings(self, name: str) -> dict[str, Any]:
        """What a preset says.

        Raises:
            ConfigError: there is none of that name; or the file has changed and is wrong (the old ones stay).
        """
        if self._path is not None:
            self._load(self._path)
        if name not in self._read:
            raise ConfigError(f"there is no preset {name!r}; there are: {', '.join(self._read) or 'none'}")
        return dict(self._read[name])

    def _load(self, path: Path) -> None:
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            changed = 0
        if changed and changed == self._changed:
            return
        found: dict[str, dict[str, Any]] = {}
        for name, table in read_toml(path).items():
            if not isinstance(table, dict):
                raise ConfigError(f"{path}: {name} stands outside of a preset; write [a name] above it")
            settings = plain_names(table)
            try:
                RunConfig.make(**settings)
            except ConfigError as error:
                raise ConfigError(f"{path}: [{name}] {error}") from None
            found[name] = settings
        self._read, self._changed = found, changed
