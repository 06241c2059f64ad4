"""Peer: one WebRTC connection, from its offer to its end."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Sequence
from typing import Any

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.sdp import SessionDescription, candidate_from_sdp

from apps.webrtc.limits import Limits
from apps.webrtc.sdpfrag import ice_user

MOST_CANDIDATES = 64
"""Remote candidates that a connection may bring, in its offer and after it."""

GATHER_SECONDS = 10.0
START_KILOBITS = 1500


class OfferError(ValueError):
    """An offer or a candidate that cannot be used: in one line, why."""


def with_start_bitrate(sdp: str) -> str:
    """Ask a browser to begin at a good bitrate; it reaches one only after seconds otherwise, for aiortc has REMB alone.

    ``x-google-start-bitrate`` is a format parameter of every video codec; other programs pass over it.
    """
    lines = sdp.splitlines()
    codecs = [x.split(":", 1)[1].split(" ")[0] for x in lines if re.match(r"a=rtpmap:\d+ (VP8|H264)/90000", x)]
    described = {x.split(":", 1)[1].split(" ")[0] for x in lines if x.startswith("a=fmtp:")}
    out: list[str] = []
    for line in lines:
        kind, _, rest = line.partition(":")
        payload = rest.split(" ")[0]
        if kind == "a=fmtp" and payload in codecs:
            line = f"{line};x-google-start-bitrate={START_KILOBITS}"
        out.append(line)
        if kind == "a=rtpmap" and payload in codecs and payload not in described:
            out.append(f"a=fmtp:{payload} x-google-start-bitrate={START_KILOBITS}")
    return "\r\n".join(out) + "\r\n"


class Peer:
    """A connection that answers an offer.

    Attributes:
        id: unguessable name.
        etag: names the ICE session (RFC 9725, section 4.3.1).
        connection: aiortc's.
    """

    def __init__(self, ice_servers: Sequence[RTCIceServer], limits: Limits) -> None:
        self.id = secrets.token_urlsafe(12)
        self.etag = f'"{secrets.token_hex(8)}"'
        # An empty list: without one aiortc asks a public STUN server.
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=list(ice_servers)))
        self._limits = limits
        self._made = time.monotonic()
        self._packets = -1
        self._heard = self._made
        self._candidates = 0
        self._outgoing: MediaStreamTrack | None = None
        self._user: str | None = None

    async def answer(self, offer: str, outgoing: MediaStreamTrack | None, *, receives: bool) -> str:
        """Answer an offer.

        Args:
            offer: SDP.
            outgoing: what is sent to the other side, if anything.
            receives: whether the offer has to bring video.

        Returns:
            The answer's SDP, with all candidates of this side.

        Raises:
            OfferError: not an offer, or none that fits.
        """
        connection = self.connection
        self._outgoing = outgoing
        self._user = ice_user(offer)
        self._candidates = offer.count("a=candidate:")
        if self._candidates > MOST_CANDIDATES:
            raise OfferError("the offer brings too many candidates")
        try:
            offered = next((m.direction for m in SessionDescription.parse(offer).media if m.kind == "video"), None)
            await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        except Exception as error:
            # aiortc's parser raises whatever its own code runs into.
            raise OfferError("the offer is not an SDP that can be read") from error
        videos = [t for t in connection.getTransceivers() if t.kind == "video"]
        if len(videos) != 1 or len(connection.getTransceivers()) > 2:
            raise OfferError("the offer must have exactly one video, and at most one audio")
        for other in connection.getTransceivers():
            if other.kind != "video":
                other.direction = "inactive"  # nobody here listens, and its frames would pile up
        if receives and offered not in ("sendonly", "sendrecv"):
            raise OfferError("the offer sends no video")
        if outgoing is not None:
            if offered not in ("recvonly", "sendrecv"):
                raise OfferError("the offer receives no video")
            videos[0].sender.replaceTrack(outgoing)
            videos[0].direction = "sendrecv" if receives else "sendonly"
        else:
            videos[0].direction = "recvonly"
        try:
            answer = await connection.createAnswer()
            await asyncio.wait_for(connection.setLocalDescription(answer), GATHER_SECONDS)
        except Exception as error:
            raise OfferError("no common codec or transport with this offer (H.264 or VP8 is wanted)") from error
        return with_start_bitrate(connection.localDescription.sdp)

    def same_ice(self, fragment: str) -> bool:
        """Whether a fragment belongs to this ICE session; one with another user fragment asks for a restart."""
        user = ice_user(fragment)
        return user is None or user == self._user

    async def add_candidates(self, lines: Sequence[tuple[str | None, int | None, str]]) -> None:
        """Add remote candidates: (mid, index of the media section, "candidate:…" without "a=").

        Raises:
            OfferError: too many, or not candidates.
        """
        self._candidates += len(lines)
        if self._candidates > MOST_CANDIDATES:
            raise OfferError("too many candidates")
        parsed: list[Any] = []
        for mid, index, line in lines:
            try:
                candidate = candidate_from_sdp(line.removeprefix("candidate:"))
            except (ValueError, IndexError, AssertionError) as error:
                raise OfferError("a candidate cannot be read") from error
            candidate.sdpMid, candidate.sdpMLineIndex = mid, index
            parsed.append(candidate)
        for candidate in parsed:
            try:
                await self.connection.addIceCandidate(candidate)
            except Exception as error:
                raise OfferError("a candidate belongs to no part of this session") from error

    @property
    def state(self) -> str:
        """new, connecting, connected, failed or closed."""
        return self.connection.connectionState

    async def alive(self, now: float) -> bool:
        """Whether it is connected and speaks, or is still within its time to connect."""
        if self.state in ("closed", "failed"):
            return False
        if self.state != "connected":
            return now - self._made < self._limits.connect_seconds
        report = await self.connection.getStats()
        packets = sum(int(s.packetsReceived) for s in report.values() if s.type == "transport")
        if packets != self._packets:
            self._packets, self._heard = packets, now
        return now - self._heard < self._limits.silence_seconds

    async def close(self) -> None:
        """End the connection, and the track it sent: aiortc ends only those it has begun to send."""
        if self._outgoing is not None:
            self._outgoing.stop()
        await self.connection.close()
