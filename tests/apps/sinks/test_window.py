"""The window, on a display that nobody sees: pixels, before and after, keys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, sys, threading, time
import mss, numpy as np, pygame
from apps.sinks.sink import Picture
from apps.sinks.window import Window
from apps.sources.screen import Screen
from streamdiff.frame import Frame

keys, closed, seen = [], [], {}
window = Window(Picture(64, 64, 30), on_key=keys.append, on_closed=lambda: closed.append(1), lines=lambda: ["24.2 fps"])
after, before = np.full((64, 64, 3), (200, 30, 30), np.uint8), np.full((64, 64, 3), (30, 30, 200), np.uint8)

def press(key, text=""):
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key, unicode=text, mod=0, scancode=0))

def look(name):
    for _ in range(8):
        window.write(Frame(after, pts=0.0, tag=before))
        time.sleep(0.05)
    size = pygame.display.get_surface().get_size()
    screen = Screen(1)
    pixels = screen.read().pixels
    screen.close()
    ys, xs = np.nonzero((pixels.max(2) > 150))
    top, bottom, left, right = ys.min(), ys.max(), xs.min(), xs.max()
    part = pixels[top : bottom + 1, left : right + 1]
    h, w = part.shape[:2]
    seen[name] = {"size": [w, h], "left": part[h // 2, w // 4].tolist(), "right": part[h // 2, 3 * w // 4].tolist(),
                  "white": int((part[: h // 4].min(2) > 180).sum())}

def act():
    look("after")
    press(pygame.K_b, "b"); look("split")
    press(pygame.K_b, "b"); look("before")
    press(pygame.K_i, "i"); look("figures")
    press(pygame.K_UP); press(pygame.K_q, "q")
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    while not closed:
        time.sleep(0.01)

thread = threading.Thread(target=act)
thread.start()
window.run(lambda: bool(closed))
thread.join()
print(json.dumps({"seen": seen, "keys": keys, "closed": len(closed)}))
"""


def run(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[3]
    kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")}
    return subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, cwd=root,
                          env={**kept, **environment})  # fmt: skip


@pytest.fixture(scope="module")
def told(display: str) -> dict[str, Any]:
    result = run({"DISPLAY": display})
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def near(colour: list[int], wanted: tuple[int, int, int]) -> bool:
    return max(abs(a - b) for a, b in zip(colour, wanted, strict=True)) <= 3


def test_after_split_and_before(told: dict[str, Any]) -> None:
    red, blue = (200, 30, 30), (30, 30, 200)
    for view, left, right in (("after", red, red), ("split", blue, red), ("before", blue, blue)):
        assert near(told["seen"][view]["left"], left) and near(told["seen"][view]["right"], right), (view, told["seen"])


def test_small_pictures_are_shown_larger(told: dict[str, Any]) -> None:
    assert min(told["seen"]["after"]["size"]) > 500


def test_figures_are_written_over_it(told: dict[str, Any]) -> None:
    assert told["seen"]["before"]["white"] == 0 and told["seen"]["figures"]["white"] > 20


def test_keys_are_passed_on_and_closing_ends_it(told: dict[str, Any]) -> None:
    assert told["keys"] == ["up", "q"] and told["closed"] == 1


def test_no_display_is_one_line() -> None:
    result = run({})
    assert "no window can be opened" in result.stderr.splitlines()[-1]
