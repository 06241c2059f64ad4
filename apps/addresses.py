"""Addresses: HOST:PORT as people write it, and what only this machine can reach."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    if host in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def name_in(host: str) -> str:
    """The name in a Host header, in lower case and without its port; "" where there is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def host_and_port(text: str) -> tuple[str, int] | None:
    """PORT (of this machine) or HOST:PORT; None for anything else."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        return None
    return host.strip("[]") or "127.0.0.1", int(port)
