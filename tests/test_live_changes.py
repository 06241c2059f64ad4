"""Changes of a running LiveStream's settings: where they show, and what becomes of those that cannot be."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from streamdiff import ConfigError, Frame, LiveStream, Stream
from tests.toy import collect, frames, outgrown, picture, slow, toy, with_memory_for


async def test_live_changes_show_on_the_next_frame() -> None:
    made = toy()
    other = made.stream(prompt="b")(picture(0))
    async with LiveStream(made.stream(prompt="a")) as live:
        live.push(picture(0))
        first = await anext(live)
        live.update(prompt="b", steps=1)
        assert live.config.prompt == "b"
        live.push(picture(0))
        second = await anext(live)
        with pytest.raises(ConfigError):
            live.update(strength=2.0)
    assert not np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(second.pixels, other)


async def test_an_update_that_cannot_be_built_keeps_the_stream_running(monkeypatch: pytest.MonkeyPatch) -> None:
    made = toy()
    stream = made.stream()
    async with LiveStream(stream) as live:

        def fail(*_: object) -> None:
            raise MemoryError("too large")

        monkeypatch.setattr(made.runtime, "compile", fail, raising=False)
        live.update(width=512)
        live.push(picture(0))
        assert (await anext(live)).pixels.shape == (64, 64, 3)
        assert live.config.width == 64


async def test_a_change_does_not_jump_the_queue() -> None:
    made = toy()
    plain = {p: made.stream(prompt=p) for p in "ab"}
    async with LiveStream(slow(made, 0.01, prompt="a"), "lossless", capacity=8) as live:
        for i in range(4):
            await live.put(Frame(picture(i), index=i))
        live.update(prompt="b")
        for i in range(4, 8):
            await live.put(Frame(picture(i), index=i))
        live.end()
        got = await collect(live)
    for f in got:
        assert np.array_equal(f.pixels, plain["a" if f.index < 4 else "b"](picture(f.index)))


def refusing(stream: Stream, monkeypatch: pytest.MonkeyPatch, name: str, why: str) -> None:
    """Let a stream refuse a setting that validates."""
    update = stream.update

    def refuse(**given: object) -> None:
        if name in given:
            raise RuntimeError(why)
        update(**given)

    monkeypatch.setattr(stream, "update", refuse)


async def test_changes_made_while_nothing_moves_are_one() -> None:
    stream = toy().stream()
    applied: list[dict[str, object]] = []
    update = stream.update
    stream.update = lambda **given: (applied.append(given), update(**given))  # type: ignore[method-assign]
    async with LiveStream(stream, "lossless") as live:
        for seed in range(200):
            live.update(seed=seed, prompt=f"p{seed}")
        await live.put(frames(1)[0])
        live.update(strength=0.7)
        await live.put(frames(2)[1])
        live.end()
        await collect(live)
    assert applied == [{"seed": 199, "prompt": "p199"}, {"strength": 0.7}]
    assert (stream.config.seed, stream.config.prompt, stream.config.strength) == (199, "p199", 0.7)


async def test_one_setting_that_cannot_be_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = toy().stream()
    refusing(stream, monkeypatch, "reuse_every", "no deep blocks")
    told: list[str] = []
    async with LiveStream(stream, "lossless") as live:
        live.on_refused = told.append
        live.update(reuse_every=2, strength=0.3, steps=2, prompt="kept", seed=5)
        await live.put(frames(1)[0])
        live.end()
        await collect(live)
        assert (live.config.prompt, live.config.strength, live.config.reuse_every) == ("kept", 0.3, 1)
        assert live.config == stream.config
    assert told == ["settings reuse_every were not applied: no deep blocks"]


async def test_what_a_failed_push_took_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = toy().stream()
    push = stream.push

    def fails(frame: Frame) -> list[Frame]:
        if stream.config.width == 128:
            stream.update(width=64)
            stream.lost += 1
            raise RuntimeError("no memory for it")
        return push(frame)

    monkeypatch.setattr(stream, "push", fails)
    told: list[str] = []
    async with LiveStream(stream) as live:
        live.on_refused = told.append
        live.update(width=128, prompt="kept")
        live.push(frames(1)[0])
        while not told:
            await asyncio.sleep(0.01)
        assert (live.config.width, live.config.prompt) == (64, "kept")
        live.push(frames(2)[1])
        assert (await anext(live)).index == 1
    assert told == ["settings width were not applied: no memory for it"]


async def test_a_size_that_does_not_fit_when_it_is_run_is_taken_back_and_told() -> None:
    made = toy()
    with_memory_for(made, 64)
    async with LiveStream(made.stream()) as live:
        told = await outgrown(live)
        assert (live.config.width, live.config.prompt, live.metrics.failed) == (64, "kept", 1)
        live.push(frames(3)[2])
        assert (await anext(live)).index == 2
    assert told == ["settings width were not applied: no memory for it"]


async def test_a_size_that_cannot_be_built_is_taken_back_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = toy().stream()
    refusing(stream, monkeypatch, "width", "no memory for it")
    told: list[str] = []
    async with LiveStream(stream, "lossless") as live:
        live.on_refused = told.append
        live.update(width=128, prompt="kept")
        await live.put(frames(1)[0])
        live.end()
        assert len(await collect(live)) == 1
        assert (live.config.width, live.config.prompt) == (64, "kept")
    assert told == ["settings width were not applied: no memory for it"]
