"""Sessions, end to end: real server, real WebRTC clients."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from apps.webrtc.limits import Limits
from engines import EngineError
from tests.apps.webrtc.serving import Client, Running, Viewer, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving(Limits(sessions=3, viewers=2, silence_seconds=3, creations=10_000)) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(server: Running) -> Iterator[None]:
    yield

    async def end() -> None:
        for session in server.sessions:
            await server.sessions.end(session.id)

    server.inside(end)
    assert len(server.sessions) == 0


async def until(what: object, seconds: float = 10) -> None:
    began = time.monotonic()
    while not what():  # type: ignore[operator]
        assert time.monotonic() - began < seconds
        await asyncio.sleep(0.05)


async def test_a_camera_comes_back_with_its_own_times(server: Running) -> None:
    client = await Client(server.url).open(prompt="b")
    frames = await client.frames(20)
    await client.close()
    assert {(f.width, f.height) for f in frames} == {(64, 64)}
    steps = np.diff([f.pts * f.time_base for f in frames])
    assert all(float(s) == pytest.approx(round(float(s) * 30) / 30, abs=1e-4) and s > 0 for s in steps)
    assert float(np.median([float(s) for s in steps])) == pytest.approx(1 / 30, abs=1e-4)


async def test_the_mode_changes_in_the_middle(server: Running) -> None:
    client = await Client(server.url).open(prompt="b")
    await client.frames(5)
    async with httpx.AsyncClient(base_url=server.url) as http:
        assert (await http.get("/api/info")).json()["modes"] == ["stream", "rolling"]
        address = f"{client.session['url']}/settings"
        for mode in ("rolling", "stream"):
            assert (await http.patch(address, json={"mode": mode})).json()["mode"] == mode
            frames = await client.frames(12)
            assert {(f.width, f.height) for f in frames} == {(64, 64)}
            times = [float(f.pts * f.time_base) for f in frames]
            assert times == sorted(times)
    await client.close()


async def test_settings_over_the_channel_and_over_http(server: Running) -> None:
    client = await Client(server.url).open()
    await client.frames(2)
    await client.message("stats")
    client.channel.send(json.dumps({"type": "settings", "settings": {"strength": 0.7, "prompt": "c"}, "id": 7}))
    confirmed = await client.message("settings", id=7)
    assert confirmed["settings"]["strength"] == 0.7 and confirmed["settings"]["prompt"] == "c"
    assert len([m for m in client.messages if m["type"] == "settings"]) == 1  # who asked is answered, not told too
    client.channel.send(json.dumps({"type": "settings", "settings": {"strength": 7}, "id": 8}))
    assert "strength" in (await client.message("error", id=8))["error"]
    client.channel.send(json.dumps({"type": "ping", "t": 12.5}))
    await client.message("pong", t=12.5)
    for nonsense in ("[", "[]", "{}", '{"type":"settings","settings":3}', "x" * 20_000, b"bytes"):
        client.channel.send(nonsense)
    await until(lambda: len([m for m in client.messages if m["type"] == "error"]) >= 7)
    async with httpx.AsyncClient(base_url=server.url) as http:
        address = f"{client.session['url']}/settings"
        assert (await http.get(address)).json()["strength"] == 0.7
        assert (await http.patch(address, json={"seed": 5})).json()["seed"] == 5
        await client.message("settings", settings=(await http.get(address)).json())  # the page hears of it
        for bad in (
            {"strength": 0},
            {"nothing": 1},
            {"self": 1},
            {"cls": 1},
            {"width": 63},
            {"width": 4096, "height": 4096},
        ):
            refused = await http.patch(address, json=bad)
            assert refused.status_code == 422 and "\n" not in refused.json()["error"]
        assert (await http.get(address)).json()["strength"] == 0.7
        assert (await http.patch(address, json={"width": 128})).status_code == 200
    for _ in range(200):
        if (await client.frames(1))[0].width == 128:
            break
    else:
        raise AssertionError("the size did not change")
    await client.close()


async def test_two_sessions_are_separate(server: Running) -> None:
    one, two = await Client(server.url).open(prompt="one"), await Client(server.url).open(prompt="two")
    first, second = await one.frames(12), await two.frames(12)
    a, b = first[-1].to_ndarray(format="rgb24"), second[-1].to_ndarray(format="rgb24")
    assert np.abs(a.astype(float).mean((0, 1)) - b.astype(float).mean((0, 1))).max() > 2
    one.channel.send(json.dumps({"type": "settings", "settings": {"prompt": "three"}}))
    await one.message("settings")
    async with httpx.AsyncClient(base_url=server.url) as http:
        assert (await http.get(f"{two.session['url']}/settings")).json()["prompt"] == "two"
    await one.close()
    await two.close()


async def test_a_full_server_says_when_to_come_again(server: Running) -> None:
    clients = [await Client(server.url).open() for _ in range(3)]
    late = Client(server.url)
    async with httpx.AsyncClient(base_url=server.url) as http:
        refused = await http.post("/api/sessions", json={"sdp": await late.offer()})
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
        assert "full" in refused.json()["error"]
        assert (await http.delete(clients[0].session["url"])).status_code == 200
        assert (await http.delete(clients[0].session["url"])).status_code == 404
    await late.close()
    later = await Client(server.url).open()
    await later.frames(2)
    for client in (*clients, later):
        await client.close()


async def test_sessions_end_with_their_source(server: Running) -> None:
    polite = await Client(server.url).open()
    await polite.frames(2)
    await polite.close()
    await until(lambda: len(server.sessions) == 0, 8)


async def test_viewers_share_one_run_of_the_model(server: Running) -> None:
    client = await Client(server.url).open()
    await client.frames(2)
    viewers = [await Viewer(server.url).open(client.session["whep"]) for _ in range(2)]
    for viewer in viewers:
        assert len(await viewer.frames(5)) == 5
    session = server.sessions.get(client.session["id"])
    assert session is not None and session.stats()["viewers"] == 2
    figures = session.live.metrics.snapshot()
    assert figures["frames_out"] <= figures["frames_in"]
    third = Viewer(server.url)
    await third.connection.setLocalDescription(await third.connection.createOffer())
    async with httpx.AsyncClient(base_url=server.url) as http:
        full = await http.post(
            client.session["whep"],
            content=third.connection.localDescription.sdp,
            headers={"content-type": "application/sdp"},
        )
        assert full.status_code == 503
        assert viewers[0].response is not None
        assert (await http.delete(viewers[0].response.headers["location"])).status_code == 200
    await viewers[1].close()
    await until(lambda: session.stats()["viewers"] == 0)
    async with httpx.AsyncClient(base_url=server.url) as http:
        bad = await http.post(client.session["whep"], content="v=0", headers={"content-type": "application/sdp"})
        assert bad.status_code == 400
    assert len(session.tracks) == 1  # the page's own is all that is left
    await third.close()
    await viewers[0].close()
    await client.close()


async def test_offers_that_cannot_be_used(server: Running) -> None:
    from aiortc import RTCPeerConnection

    audio = RTCPeerConnection()
    audio.addTransceiver("audio")
    await audio.setLocalDescription(await audio.createOffer())
    watch = Viewer(server.url)
    await watch.connection.setLocalDescription(await watch.connection.createOffer())
    async with httpx.AsyncClient(base_url=server.url) as http:
        for sdp in ("", "v=0", "nonsense\r\n", audio.localDescription.sdp, watch.connection.localDescription.sdp):
            refused = await http.post("/api/sessions", json={"sdp": sdp})
            assert refused.status_code == 400, sdp
            assert "error" in refused.json()
        assert (await http.post("/api/sessions", json={"sdp": "v=0", "settings": {"a": 1}})).status_code == 422
        assert (await http.post("/api/sessions", content=b"{")).status_code == 422
        assert (await http.get("/api/sessions/nobody")).status_code == 404
        assert (await http.get("/nowhere")).status_code == 404
    await audio.close()
    await watch.close()


async def test_a_size_that_the_model_cannot_run_is_refused_with_its_reason(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(config: object) -> None:
        raise EngineError("the decoder does not fit; use a smaller size")

    monkeypatch.setattr(server.sessions, "new_stream", fails)
    async with httpx.AsyncClient(base_url=server.url) as http:
        refused = await http.post("/api/sessions", json={"sdp": "v=0", "settings": {"width": 256}})
    assert refused.status_code == 422
    assert refused.json()["error"] == "the decoder does not fit; use a smaller size"
    assert len(server.sessions) == 0


async def test_a_lost_session_goes_on_under_its_name(server: Running) -> None:
    first = await Client(server.url).open()
    name = first.session["id"]
    second = Client(server.url)
    async with httpx.AsyncClient(base_url=server.url) as http:
        taken = await http.post("/api/sessions", json={"sdp": await second.offer(), "previous": name})
        assert taken.status_code == 201 and taken.json()["id"] != name  # the first still runs
        assert (await http.delete(f"/api/sessions/{name}")).status_code == 200
        third = Client(server.url)
        again = await http.post("/api/sessions", json={"sdp": await third.offer(), "previous": name})
        assert again.json()["id"] == name
        fourth = Client(server.url)
        invented = await http.post("/api/sessions", json={"sdp": await fourth.offer(), "previous": "made-up"})
        assert invented.status_code == 201 and invented.json()["id"] != "made-up"
        assert "x-google-start-bitrate" in again.json()["sdp"]
    for client in (first, second, third, fourth):
        await client.close()
