"""WHIP and WHEP with real clients: FFmpeg's own muxer sends, aiortc plays."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription

from apps.certificate import certificate_files
from apps.webrtc.app import Access
from apps.webrtc.guard import COOKIE
from apps.webrtc.limits import Limits
from apps.webrtc.sdpfrag import MEDIA_TYPE, ice_user, parse
from tests.apps.webrtc.serving import Camera, Running, Viewer, serving

SDP = {"content-type": "application/sdp"}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving(Limits(sessions=4, creations=10_000)) as running:
        yield running


async def test_ffmpeg_sends_and_a_whep_player_receives_with_the_same_spacing(server: Running, tmp_path: Path) -> None:
    fps = 20
    command = [sys.executable, "-m", "tests.apps.webrtc.send_clip", f"{server.url}/whip?prompt=b&strength=0.7"]
    sending = await asyncio.create_subprocess_exec(*command, "6", str(fps), *map(str, certificate_files(tmp_path)))
    began = time.monotonic()
    while not list(server.sessions):
        assert time.monotonic() - began < 15 and sending.returncode is None
        await asyncio.sleep(0.02)
    session = next(iter(server.sessions))
    assert (session.config.prompt, session.config.strength) == ("b", 0.7)
    viewer = await Viewer(server.url).open(f"/whep/{session.id}")
    frames = await viewer.frames(40)
    times = [float(f.pts * f.time_base) for f in frames]
    steps = np.diff(times)
    assert float(np.median(steps)) == pytest.approx(1 / fps, abs=1e-3)
    assert all(s == pytest.approx(round(s * fps) / fps, abs=1e-3) and s > 0 for s in steps)
    assert np.mean(steps < 1.5 / fps) > 0.6  # a busy machine overtakes some frames, never most
    assert np.mean([f.to_ndarray(format="rgb24").std() for f in frames]) > 3
    await viewer.close()
    assert await sending.wait() == 0
    began = time.monotonic()
    while list(server.sessions):  # it leaves with a DELETE
        assert time.monotonic() - began < 15
        await asyncio.sleep(0.05)


async def test_the_live_command_sends_to_a_server_that_asks_for_a_token() -> None:
    with serving(Limits(creations=10_000), Access("a-secret", frozenset())) as guarded:
        address = f"whip+http://127.0.0.1:{guarded.port}/whip?prompt=b&bearer=a-secret"
        words = ["live", "-i", "pattern?size=64x64&rate=20", "-o", address, "--seconds", "4", "--plain"]
        small = ["--width", "64", "--height", "64", "--prompt", "mosaic"]
        sending = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "apps.cli.main", *words, *small, stdout=asyncio.subprocess.PIPE
        )
        began, frames = time.monotonic(), 0
        while sending.returncode is None and time.monotonic() - began < 60:
            frames = max([frames, *(s.stats()["frames_in"] for s in guarded.sessions)])
            await asyncio.sleep(0.05)
        told, _ = await sending.communicate()
        assert sending.returncode == 0 and frames >= 10, told
        assert b"a-secret" not in told  # the summary names the address without what is secret


async def test_the_headers_of_the_rfc(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    stun = RTCIceServer(urls="stun:127.0.0.1:9")
    turn = RTCIceServer(urls="turn:127.0.0.1:9", username="u", credential="p")
    monkeypatch.setattr(server.sessions, "ice_servers", (stun, turn))
    monkeypatch.setattr("apps.webrtc.peer.RTCConfiguration", lambda iceServers: RTCConfiguration(iceServers=[]))
    connection = RTCPeerConnection()
    connection.addTrack(Camera())
    await connection.setLocalDescription(await connection.createOffer())
    offer = connection.localDescription.sdp
    async with httpx.AsyncClient(base_url=server.url) as http:
        asked = await http.options("/whip")
        assert asked.status_code == 204 and asked.headers["accept-post"] == "application/sdp"
        assert (await http.post("/whip", content=offer)).status_code == 415
        assert (await http.post("/whip", content=b"\xff\xfe", headers=SDP)).status_code == 400
        assert (await http.post("/whip?strength=3", content=offer, headers=SDP)).status_code == 422
        assert (await http.get("/whip")).status_code == 405
        made = await http.post("/whip", content=offer, headers=SDP)
        assert made.status_code == 201
        assert made.headers["content-type"] == "application/sdp" and made.text.startswith("v=0")
        links = made.headers.get_list("link")
        assert '<stun:127.0.0.1:9>; rel="ice-server"' in links
        assert any('username="u"' in link and 'credential-type="password"' in link for link in links)
        place, etag = made.headers["location"], made.headers["etag"]
        trickle = {"content-type": MEDIA_TYPE, "if-match": etag}
        user = ice_user(offer)
        fragment = (
            f"a=ice-ufrag:{user}\r\na=ice-pwd:anything\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
            "a=candidate:1 1 udp 2130706431 127.0.0.1 50000 typ host\r\na=end-of-candidates\r\n"
        )
        assert (await http.patch(place, content=fragment, headers=trickle)).status_code == 204
        for headers, status in (
            ({"content-type": MEDIA_TYPE}, 428),
            ({**trickle, "if-match": '"other"'}, 412),
            ({**trickle, "if-match": "*"}, 422),
            ({**trickle, "content-type": "text/plain"}, 415),
        ):
            assert (await http.patch(place, content=fragment, headers=headers)).status_code == status
        restart = fragment.replace(str(user), "other")
        assert (await http.patch(place, content=restart, headers=trickle)).status_code == 422
        for bad in (
            "nonsense",
            "m=video\r\na=mid:0\r\na=candidate:x\r\n",
            "a=candidate:1 1 udp 1 a b typ host\r\n" * 100,
        ):
            assert (await http.patch(place, content=bad, headers=trickle)).status_code == 400
        assert (await http.delete(place)).status_code == 200
        assert (await http.delete(place)).status_code == 404
        assert (await http.patch(place, content=fragment, headers=trickle)).status_code == 404
    await connection.close()


def without_candidates(sdp: str) -> str:
    return "".join(x for x in sdp.splitlines(keepends=True) if not x.startswith(("a=candidate", "a=end-of")))


async def test_trickled_candidates_connect() -> None:
    """An offer without candidates connects once they come by PATCH."""
    with serving(Limits(creations=10_000)) as server:
        connection = RTCPeerConnection()
        connection.addTrack(Camera())
        await connection.setLocalDescription(await connection.createOffer())
        sdp = connection.localDescription.sdp
        bare = without_candidates(sdp)
        candidates = [x for x in sdp.splitlines() if x.startswith("a=candidate")]
        async with httpx.AsyncClient(base_url=server.url) as http:
            made = await http.post("/whip", content=bare, headers=SDP)
            assert made.status_code == 201, made.text
            session = next(iter(server.sessions))
            # The server's own candidates are kept back too: only the trickled ones can make the pair.
            await connection.setRemoteDescription(RTCSessionDescription(without_candidates(made.text), "answer"))
            fragment = "\r\n".join(["m=video 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0", *candidates, "a=end-of-candidates", ""])
            headers = {"content-type": MEDIA_TYPE, "if-match": made.headers["etag"]}
            assert (await http.patch(made.headers["location"], content=fragment, headers=headers)).status_code == 204
        for _ in range(200):
            if session.live.metrics.frames_in > 3:
                break
            await asyncio.sleep(0.05)
        assert session.live.metrics.frames_in > 3
        await connection.close()


async def test_obs_sends_its_token_as_a_bearer() -> None:
    with serving(access=Access(token="secret-token")) as server:
        connection = RTCPeerConnection()
        connection.addTrack(Camera())
        await connection.setLocalDescription(await connection.createOffer())
        offer = connection.localDescription.sdp
        async with httpx.AsyncClient(base_url=server.url) as http:
            for headers in ({}, {"authorization": "Bearer wrong"}, {"cookie": f"{COOKIE}_{server.port}_=wrong"}):
                assert (await http.post("/whip", content=offer, headers={**SDP, **headers})).status_code == 401
            good = {**SDP, "authorization": "Bearer secret-token"}
            assert (await http.post("/whip", content=offer, headers=good)).status_code == 201
        await connection.close()


def test_fragments() -> None:
    fragment = "a=ice-ufrag:x\nm=audio 9 X 0\na=mid:a\na=candidate:1 x\nm=video 9 X 0\na=mid:v\na=candidate:2 y\n\n"
    assert parse(fragment) == [("a", 0, "candidate:1 x"), ("v", 1, "candidate:2 y")]
    assert parse("a=candidate:1 x") == [(None, 0, "candidate:1 x")]
    assert parse("") == []
    with pytest.raises(ValueError, match="fragment"):
        parse("what is this")
