"""Trickle ICE in HTTP bodies: application/trickle-ice-sdpfrag (RFC 8840, section 9)."""

from __future__ import annotations

MEDIA_TYPE = "application/trickle-ice-sdpfrag"


def parse(body: str) -> list[tuple[str | None, int | None, str]]:
    """The candidates of a fragment: (mid, index of the media section, candidate line without "a=").

    Lines before the first media section belong to the first. Raises ValueError where it is no fragment.
    """
    found: list[tuple[str | None, int | None, str]] = []
    index, mid = -1, None
    for raw in body.replace("\r\n", "\n").split("\n"):
        line = raw.strip()
        if not line:
            continue
        if len(line) < 2 or line[1] != "=":
            raise ValueError("not an SDP fragment")
        if line.startswith("m="):
            index, mid = index + 1, None
        elif line.startswith("a=mid:"):
            mid = line[6:]
        elif line.startswith("a=candidate:"):
            found.append((mid, max(index, 0), line[2:]))
    return found


def ice_user(body: str) -> str | None:
    """The ICE user fragment that a fragment or a description names first."""
    lines = (line for line in body.splitlines() if line.startswith("a=ice-ufrag:"))
    return next((line.split(":", 1)[1].strip() for line in lines), None)
