"""Sessions opened and dropped in every rude way leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import signal
import threading
import time

import httpx
import psutil
import pytest
from aiortc import RTCPeerConnection

from apps.webrtc.limits import Limits
from tests.apps.webrtc.serving import Camera, Client, Running, Viewer, serving

SESSIONS = 200
KILLED = 2
MOST_MEMORY = 30e6


async def no_ice(url: str) -> None:
    """An offer that is answered and never connected."""
    client = Client(url)
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        assert (await http.post("/api/sessions", json={"sdp": await client.offer()})).status_code == 201
    await client.close()


async def half_sdp(url: str) -> None:
    """Half of an offer."""
    client = Client(url)
    offer = await client.offer()
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        for sdp in (
            offer[: len(offer) // 2],
            offer.replace("m=video", "m=vide"),
            offer.replace("a=fingerprint", "a=x"),
        ):
            assert (await http.post("/api/sessions", json={"sdp": sdp})).status_code in (201, 400)
    await client.close()


async def closed_socket(url: str) -> None:
    """The connection closed before the answer."""
    client = Client(url)
    body = json.dumps({"sdp": await client.offer()}).encode()
    port = int(url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"host: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    writer.write(f"POST /api/sessions HTTP/1.1\r\n{head}\r\n\r\n".encode() + body)
    await writer.drain()
    writer.close()
    await client.close()


async def delete_twice(url: str) -> None:
    """Connected, a few frames, and deleted twice at the same moment."""
    client = await Client(url).open()
    await client.frames(1)
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        answers = await asyncio.gather(*(http.delete(client.session["url"]) for _ in range(2)))
        assert sorted(a.status_code for a in answers) == [200, 404]
    await client.close()


async def leaves_at_once(url: str) -> None:
    """Connected and gone."""
    client = await Client(url).open()
    await client.close()


async def whip_without_ice(url: str) -> None:
    """A WHIP offer, deleted unconnected."""
    connection = RTCPeerConnection()
    connection.addTrack(Camera())
    await connection.setLocalDescription(await connection.createOffer())
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        made = await http.post(
            "/whip", content=connection.localDescription.sdp, headers={"content-type": "application/sdp"}
        )
        assert made.status_code == 201
        assert (await http.delete(made.headers["location"])).status_code == 200
    await connection.close()


async def viewer_that_never_connects(url: str) -> None:
    """A session that is watched by somebody who only asks, and by somebody whose offer is no good."""
    client = await Client(url).open()
    viewer = Viewer(url)
    await viewer.connection.setLocalDescription(await viewer.connection.createOffer())
    sdp = {"content-type": "application/sdp"}
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        good = await http.post(client.session["whep"], content=viewer.connection.localDescription.sdp, headers=sdp)
        assert good.status_code == 201
        assert (await http.post(client.session["whep"], content="v=0", headers=sdp)).status_code == 400
        assert (await http.delete(good.headers["location"])).status_code == 200
    await viewer.close()
    await client.close()


WAYS = (no_ice, half_sdp, closed_socket, delete_twice, leaves_at_once, whip_without_ice, viewer_that_never_connects)


def stream_until_killed(url: str) -> None:
    async def run() -> None:
        client = await Client(url).open()
        await client.frames(100_000)

    asyncio.run(run())


def settled(server: Running) -> tuple[int, int, float]:
    """Tasks in the server's loop, threads, and memory, once nothing moves any more."""
    for _ in range(400):
        if len(server.sessions) == 0 and not server.sessions._closing:
            break
        time.sleep(0.05)
    assert len(server.sessions) == 0

    async def tasks() -> int:
        for _ in range(100):
            left = [t for t in asyncio.all_tasks() if not t.done()]
            if len(left) <= 5:
                break
            await asyncio.sleep(0.05)
        return len(left)

    count = server.inside(tasks)
    gc.collect()
    threads = [t for t in threading.enumerate() if "asyncio_" not in t.name]  # the pool's own threads are kept
    return count, len(threads), psutil.Process().memory_info().rss


@pytest.mark.filterwarnings("ignore")
def test_rude_clients_leave_nothing_behind() -> None:
    limits = Limits(sessions=64, creations=100_000, connect_seconds=1.5, silence_seconds=2)
    with serving(limits) as server:

        async def be_rude(count: int) -> None:
            for start in range(0, count, len(WAYS)):
                await asyncio.gather(
                    *(WAYS[i % len(WAYS)](server.url) for i in range(start, min(start + len(WAYS), count)))
                )

        asyncio.run(be_rude(49))  # what is made once: pools, caches
        before = settled(server)
        asyncio.run(be_rude(SESSIONS - KILLED))
        context = multiprocessing.get_context("spawn")
        victims = [context.Process(target=stream_until_killed, args=(server.url,)) for _ in range(KILLED)]
        for victim in victims:
            victim.start()
        for _ in range(1800):
            if sum(s.live.metrics.frames_in > 2 for s in server.sessions) == len(victims):
                break
            time.sleep(0.05)
        assert sum(s.live.metrics.frames_in > 2 for s in server.sessions) == len(victims)
        for victim in victims:
            assert victim.pid is not None
            os.kill(victim.pid, signal.SIGKILL)
            victim.join()
        after = settled(server)
        assert after[0] <= before[0], "tasks"
        assert after[1] <= before[1], "threads"
        assert after[2] - before[2] < MOST_MEMORY, "memory"
        with httpx.Client(base_url=server.url) as http:
            assert http.get("/healthz").json()["sessions"] == 0
            figures = http.get("/metrics").text
            assert "streamdiff_sessions 0.0" in figures
