"""What ``--input`` and ``--output`` are written like: KIND, KIND:WHAT or an address, with ?options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from streamdiff.errors import ConfigError


@dataclass(frozen=True)
class Uri:
    """A source or sink, taken apart.

    Attributes:
        text: as it was given.
        kind: what stands before the first colon, in lower case; "" for a path.
        rest: what stands behind it, or the whole path.
        options: what stands behind the question mark, of an address only what is ours.
    """

    text: str
    kind: str
    rest: str
    options: Mapping[str, str]

    def number(self, name: str, least: float, most: float, default: float) -> float:
        """An option that is a number.

        Raises:
            ConfigError: it is none, or out of bounds.
        """
        given = self.options.get(name)
        if given is None:
            return default
        try:
            value = float(given)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise ConfigError(f"{self.text}: {name}={given} must be a number from {least:g} to {most:g}")
        return value

    def flag(self, name: str) -> bool:
        """An option that is 1 or 0.

        Raises:
            ConfigError: it is neither.
        """
        given = self.options.get(name, "0")
        if given not in ("0", "1"):
            raise ConfigError(f"{self.text}: {name}={given} must be 0 or 1")
        return given == "1"

    def size(self, name: str, default: tuple[int, int]) -> tuple[int, int]:
        """An option that is WIDTHxHEIGHT.

        Raises:
            ConfigError: it is not.
        """
        given = self.options.get(name)
        if given is None:
            return default
        parts = given.lower().split("x")
        if len(parts) != 2 or not all(part.isdecimal() and 16 <= int(part) <= 16384 for part in parts):
            raise ConfigError(f"{self.text}: {name}={given} must be WIDTHxHEIGHT in pixels, such as 640x480")
        return int(parts[0]), int(parts[1])


def shown(text: str) -> str:
    """An input or output as it may be seen by others: an address without login, stream key and options."""
    if "://" not in text:
        return text.partition("?")[0] if "token=" in text else text
    scheme, _, rest = text.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    host = host.rpartition("@")[2]
    if scheme.startswith("rtmp"):  # rtmp://HOST/APP/KEY
        app, more, _ = path.partition("/")
        path = f"{app}/…" if more else app
    return f"{scheme}://{host}{slash}{path}"


def parse(text: str, kinds: frozenset[str], addresses: frozenset[str], known: Mapping[str, frozenset[str]]) -> Uri:
    """Take a URI apart.

    Args:
        text: as it was given.
        kinds: words of our own.
        addresses: schemes whose options are the other side's, and are left in place but for ours.
        known: options by kind, and of paths by "".

    Raises:
        ConfigError: an unknown kind or option, with what is known.
    """
    if not text.strip():
        raise ConfigError("an empty input or output; streamdiff live --list shows what there is")
    head, _, rest = text.partition(":")
    kind = head.lower().partition("?")[0]
    if "://" in text and kind in addresses:
        ours = {name: value for name, value in _options(text) if name in known.get(kind, ())}
        base, _, query = text.partition("?")
        kept = "&".join(part for part in query.split("&") if part and part.partition("=")[0] not in ours)
        return Uri(text, kind, base + (f"?{kept}" if kept else ""), ours)
    if "://" in text and kind not in kinds:
        raise ConfigError(f"{text}: {head}:// is not known; known are {', '.join(sorted(addresses))}")
    body, mark, _ = text.partition("?")
    if kind in kinds:
        rest = body.partition(":")[2]
    else:
        kind, rest = "", body
    options = dict(_options(text)) if mark else {}
    unknown = set(options) - known.get(kind, frozenset())
    if unknown:
        names = ", ".join(sorted(known.get(kind, ()))) or "none"
        raise ConfigError(f"{text}: unknown option {sorted(unknown)[0]!r} (known: {names})")
    return Uri(text, kind, rest, options)


def _options(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text.partition("?")[2], keep_blank_values=True)
