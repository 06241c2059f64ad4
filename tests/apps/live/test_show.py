"""A live run: source, model and sinks survive each other's failures, and every picture is accounted for."""

from __future__ import annotations

import threading
import time
from typing import Any

import cv2
import numpy as np
import pytest

from apps.live import intake, outlet
from apps.live import show as show_module
from apps.live.backoff import Backoff
from apps.live.clock import Clock
from apps.live.report import summary
from apps.live.show import Show
from apps.sinks.sink import Picture
from apps.sources.source import SOUND_RATE, Sound
from apps.sources.uri import source_from
from scripts.soak import unaccounted
from streamdiff.errors import ConfigError, DeviceError, MediaError
from streamdiff.frame import Frame
from tests.apps.live.parts import Kept, KeptFor, pictures
from tests.toy import toy


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits, so that the tests do not wait."""
    for module in (intake, outlet):
        monkeypatch.setattr(module, "Backoff", lambda: Backoff(0.01, 0.05))


def played(show: Show, seconds: float = 30) -> dict[str, Any]:
    """Run to the end; the last figures."""
    show.start()
    assert show.wait(seconds), show.figures()
    show.join()
    return show.figures()


def balanced(figures: dict[str, Any]) -> None:
    """Every picture that was read is somewhere."""
    assert not any(unaccounted(figures, figures["source"]["read"]).values()), figures


@pytest.mark.parametrize("waits", [True, False])
def test_pictures_and_sound_reach_every_sink(waits: bool) -> None:
    first, second = KeptFor(), KeptFor()
    figures = played(Show(toy().stream(), pictures(60, waits=waits), [first, second]))
    balanced(figures)
    if waits:
        assert [len(k.frames) for k in (first, second)] == [60, 60]
        assert [frame.pts for frame in first.frames] == pytest.approx([i / 200 for i in range(60)])
    for kept in (first, second):
        times = [frame.pts for frame in kept.frames]
        assert times == sorted(set(times)) and times
        sounds = [sound.pts for sound in kept.sounds]
        assert sounds == sorted(sounds) and len(sounds) >= 50
        assert all(sink.closed for sink in kept.opened)


class Played:
    """A source that gives what it is given, as fast as it is taken."""

    name, width, height, rate, waits, has_sound = "played", 64, 64, 30.0, True, True

    def __init__(self, given: list[Frame | Sound]) -> None:
        self._given = iter(given)

    def read(self) -> Frame | Sound | None:
        return next(self._given, None)

    def close(self) -> None:
        self._given = iter(())


def test_no_sound_is_lost_over_a_picture_held_for_long_nor_behind_the_last() -> None:
    """As a recording of a screen has it: sound all the way, and pictures only where something changes."""
    picture = np.zeros((64, 64, 3), np.uint8)
    blocks = [Sound(np.zeros((SOUND_RATE // 2, 2), np.int16), i / 2) for i in range(80)]
    shown = {0.0: Frame(picture, pts=0.0), 26.0: Frame(picture, pts=26.0)}
    given_ = sorted([*blocks, *shown.values()], key=lambda piece: piece.pts or 0.0)
    kept = KeptFor()
    played(Show(toy().stream(), lambda: Played(given_), [kept]))
    assert len(kept.frames) == 2
    assert [sound.pts for sound in kept.sounds] == pytest.approx([i / 2 for i in range(80)])


def test_a_listener_that_has_gone_ends_nothing() -> None:
    """A closed terminal, or a pipe to a program that took what it wanted."""
    kept = KeptFor({3: "lost"})
    show = Show(toy().stream(), pictures(60, faults={10: "lost"}), [kept])

    def gone(_: str) -> None:
        raise BrokenPipeError

    show.on_message = gone
    balanced(played(show))
    assert show.messages()


def test_stopping_does_not_wait_for_a_sink_that_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "STALLED", 0.5)
    monkeypatch.setattr(show_module, "COMPLETING", 0.5)
    freed = threading.Event()

    class Hanging(Kept):
        def write(self, frame: Frame) -> None:
            freed.wait()

    show = Show(toy().stream(), pictures(60, waits=True), [lambda picture: Hanging(picture, {}, [], [])])
    show.start()
    time.sleep(0.2)  # less than it takes to be said to block
    show.stop()
    try:
        assert show.wait(10)
    finally:
        freed.set()
    show.join()


def test_what_was_seen_before_comes_along() -> None:
    kept = KeptFor()
    played(Show(toy().stream(), pictures(10, waits=True), [kept]))
    assert [int(frame.tag[0, 0, 0]) for frame in kept.frames] == [7 * i for i in range(10)]


@pytest.mark.parametrize("fault", ["lost", "bug"])
def test_a_lost_source_is_opened_again(fault: str) -> None:
    kept = KeptFor()
    show = Show(toy().stream(), pictures(60, faults={10: fault, 11: fault, 30: fault}), [kept])
    figures = played(show)
    balanced(figures)
    assert figures["source"]["reopened"] == 3 and figures["source"]["state"] == "ended"
    assert figures["source"]["read"] == 60
    times = [frame.pts for frame in kept.frames]
    assert times == sorted(set(times))
    assert sum("opening it again" in text for text in show.messages()) == 3


def test_a_source_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "STALLED", 0.2)
    monkeypatch.setattr(intake, "ABANDONED", 0.6)
    show = Show(toy().stream(), pictures(40, faults={10: "hang"}), [KeptFor()])
    figures = played(show)
    balanced(figures)
    assert figures["source"]["read"] == 40 and figures["source"]["reopened"] == 1
    assert any("waiting" in text for text in show.messages())


@pytest.mark.parametrize("fault", ["lost", "bug"])
def test_a_lost_sink_is_opened_again_and_the_other_misses_nothing(fault: str) -> None:
    broken, whole = KeptFor({5: fault}, refuse={2}), KeptFor()
    figures = played(Show(toy().stream(), pictures(200, rate=400, waits=False), [broken, whole]))
    balanced(figures)
    first, second = figures["sinks"]
    assert first["reopened"] == 1 and first["lost"] >= 2 and first["delivered"] > 5
    assert second["lost"] == 0 and second["reopened"] == 0


@pytest.mark.parametrize("waits", [True, False])
def test_a_sink_that_blocks_holds_nobody_up(waits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "STALLED", 0.2)
    slow, whole = KeptFor({3: "block"}), KeptFor()
    show = Show(toy().stream(), pictures(300, waits=waits), [slow, whole])
    figures = played(show)
    balanced(figures)
    assert figures["sinks"][0]["overtaken"] > 0 and figures["sinks"][1]["delivered"] > 250
    assert any("has taken nothing" in text for text in show.messages())


def test_a_picture_the_model_fails_on_is_counted() -> None:
    made = toy()
    forward, calls = made.unet.predict, [0]

    def sometimes(*inputs: Any) -> Any:
        calls[0] += 1
        if calls[0] in (5, 9):
            raise RuntimeError("the card is out of memory")
        return forward(*inputs)

    made.unet.predict = sometimes  # type: ignore[method-assign]
    figures = played(Show(made.stream(), pictures(60), [KeptFor()]))
    balanced(figures)
    assert figures["model"]["failed"] == 2 and figures["source"]["read"] == 60


def test_a_sink_that_never_comes_back_ends_the_run_only_when_it_was_the_last() -> None:
    def once(kept: KeptFor) -> Any:
        def opened(picture: Picture) -> Any:
            if kept.opened:
                raise MediaError("kept: the folder is gone")
            return kept(picture)

        return opened

    gone, whole = KeptFor({3: "lost"}), KeptFor()
    figures = played(Show(toy().stream(), pictures(80), [once(gone), whole]))
    assert figures["sinks"][0]["state"] == "failed" and figures["sinks"][1]["delivered"] > 10
    balanced(figures)
    alone = Show(toy().stream(), pictures(10_000), [once(KeptFor({3: "lost"}))])
    alone.start()
    assert alone.wait(20)
    with pytest.raises(MediaError, match="the folder is gone"):
        alone.join()


def test_nothing_stays_open_when_a_sink_cannot_be_opened() -> None:
    kept, threads = KeptFor(), threading.active_count()
    show = Show(toy().stream(), pictures(10), [kept, KeptFor(refuse={1})])
    with pytest.raises(DeviceError, match="nobody answers"):
        show.start()
    assert kept.opened[0].closed and threading.active_count() == threads


def test_settings_while_it_runs() -> None:
    show = Show(toy().stream(), pictures(10_000), [KeptFor()])
    show.start()
    assert show.update({"strength": 0.3}).strength == 0.3
    with pytest.raises(ConfigError, match="strength"):
        show.update({"strength": 3})
    assert show.config.strength == 0.3
    show.join()
    assert not show.running
    balanced(show.figures())


def test_a_change_of_size_reaches_the_sink_at_its_own_size() -> None:
    kept = KeptFor()
    show = Show(toy().stream(), pictures(10_000), [kept])
    show.start()
    show.update({"width": 128})
    deadline = time.monotonic() + 10
    while len(kept.frames) < 50 and time.monotonic() < deadline:
        time.sleep(0.01)
    show.join()
    assert len(kept.frames) >= 50  # each was looked at in write
    balanced(show.figures())


def test_the_clock_goes_on_over_a_gap() -> None:
    clock = Clock(100.0)
    assert clock.picture(7.0, 100.0, False, 0.04) == 0.0
    assert clock.picture(7.5, 100.5, False, 0.04) == 0.5
    assert clock.sound(7.6, 0.1, 100.6) == pytest.approx(0.6)
    clock.begin()
    assert clock.picture(0.0, 103.0, False, 0.04) == pytest.approx(3.0)  # it was away for 2.5 s
    clock.begin()
    assert clock.picture(50.0, 103.0, True, 0.04) == pytest.approx(3.04)  # a file is read on at once
    assert clock.picture(49.0, 103.0, True, 0.04) == pytest.approx(3.041)


def test_a_picture_held_for_long_is_a_jump_only_where_time_passes_by_itself() -> None:
    file, camera = Clock(0.0), Clock(0.0)
    for clock, waits in ((file, True), (camera, False)):
        assert clock.picture(0.0, 0.0, waits, 0.04) == 0.0
    assert file.picture(8.0, 0.1, True, 0.04) == 8.0
    assert camera.picture(8.0, 0.1, False, 0.04) == pytest.approx(0.1)
    assert file.picture(1.0, 0.2, True, 0.04) == pytest.approx(8.04)  # it has begun again


def test_sound_never_goes_back_and_waits_for_a_picture_where_the_clock_has_jumped() -> None:
    clock = Clock(0.0)
    clock.picture(100.0, 0.0, False, 0.04)
    assert clock.sound(100.0, 0.1, 0.0) == pytest.approx(0.0)
    assert clock.sound(100.09, 0.1, 0.1) == pytest.approx(0.09)  # by rounding
    assert clock.sound(100.05, 0.1, 0.1) is None
    assert clock.sound(9000.0, 0.1, 0.2) is None  # the sender has another clock now
    assert clock.picture(9000.0, 0.2, False, 0.04) == pytest.approx(0.2)
    assert clock.sound(9000.1, 0.1, 0.3) == pytest.approx(0.3)


@pytest.mark.alone
def test_a_sink_opened_again_begins_near_zero() -> None:
    kept, heard = KeptFor({10: "lost"}), [0]

    def opened(picture: Picture) -> Kept:
        heard[0] = len(kept.sounds)
        return kept(picture)

    played(Show(toy().stream(), pictures(150, rate=100, waits=False), [opened]))
    times = [frame.pts or 0.0 for frame in kept.frames]
    assert times[10] == 0.0 and times[9] > 0.05 and times[10:] == sorted(times[10:])
    again = [sound.pts for sound in kept.sounds[heard[0] :]]
    assert again and 0 <= again[0] < 0.05 and again == sorted(again)


@pytest.mark.parametrize("faults", [{}, {5: "lost"}])
def test_what_cannot_be_completed_is_said_and_seen(faults: dict[int, str]) -> None:
    class Full(Kept):
        def close(self) -> None:
            raise DeviceError("kept: cannot be completed (no space left)")

    # Opened again, all is well: what was lost before stays lost.
    kinds = [Full]

    def opened(picture: Picture) -> Kept:
        first = bool(kinds)
        kind = kinds.pop() if first else Kept
        return kind(picture, dict(faults) if first else {}, [], [])

    show = Show(toy().stream(), pictures(100), [opened])
    figures = played(show)
    assert figures["sinks"][0]["state"] == "incomplete"
    assert "kept: cannot be completed (no space left)" in show.messages()
    assert any(line.endswith("not completed") for line in summary(show))


class Webcam:
    """What OpenCV shows of a camera that is unplugged twice, and not there at once when it is asked again."""

    tries = 0
    pictures = 12

    def __init__(self, index: int) -> None:
        Webcam.tries += 1
        self._there = Webcam.tries % 3 == 1
        self._left = self.pictures if Webcam.tries < 7 else 10_000

    def isOpened(self) -> bool:
        return self._there

    def set(self, what: int, value: float) -> bool:
        return True

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 64, cv2.CAP_PROP_FRAME_HEIGHT: 48}.get(what, 0.0)

    def read(self) -> tuple[bool, Any]:
        time.sleep(0.005)
        self._left -= 1
        return (True, np.zeros((48, 64, 3), np.uint8)) if self._left >= 0 else (False, None)

    def release(self) -> None:
        pass


def test_a_camera_that_is_pulled_out_and_put_back_while_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Webcam)
    kept = KeptFor()
    show = Show(toy().stream(), source_from("camera:0"), [kept])
    show.start()
    until = time.monotonic() + 20
    while show.figures()["source"]["read"] < 60 and time.monotonic() < until:
        time.sleep(0.01)
    show.stop()
    show.join()
    figures = show.figures()
    balanced(figures)
    assert figures["source"]["reopened"] == 2 and figures["source"]["read"] >= 60
    told = [text for text in show.messages() if "camera 0" in text]
    assert sum("opening it again" in text for text in told) == 2 and sum("is back" in text for text in told) == 2
