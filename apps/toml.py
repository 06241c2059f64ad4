"""TOML files: settings that people write."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from streamdiff.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file, with or without a byte order mark.

    Raises:
        ConfigError: it is not there, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid TOML ({error})") from None


def plain_names(table: dict[str, Any]) -> dict[str, Any]:
    """Settings as the options are spelt, or as StreamConfig's fields are: both are the same."""
    return {name.replace("-", "_"): value for name, value in table.items()}
