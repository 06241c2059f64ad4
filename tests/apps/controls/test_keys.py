"""Keys change what they say they change, within bounds; a real terminal's keys, too."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apps.controls.actions import Actions
from apps.controls.keys import HELP, Keys
from apps.controls.terminal import split
from tests.apps.controls.held import Held


def keys_of(held: Held, styles: tuple[str, ...], told: list[str]) -> Keys:
    return Keys(Actions(held, styles, tell=told.append), told.append)


def test_keys() -> None:
    held, told = Held(), list[str]()
    keys = keys_of(held, ("a", "b", "c"), told)
    keys.press("up")
    assert held.config.strength == 0.55 and told == ["strength 0.55"]
    for _ in range(40):
        keys.press("up")
    assert held.config.strength == 1.0
    for _ in range(40):
        keys.press("down")
    assert held.config.strength == 0.05
    keys.press("right")
    keys.press("right")
    assert held.config.prompt == "a"
    keys.press("left")
    assert held.config.prompt == "c"
    keys.press("f2")
    assert held.config.prompt == "b"
    keys.press("3")
    assert held.config.steps == 3 and told[-1] == "steps 3"
    keys.press("s")
    assert held.config.seed == 1
    before = held.config
    for key in ("x", "9", "0", "f9", "f", ""):
        keys.press(key)
    assert held.config == before and not held.stopped
    keys.press("q")
    assert held.stopped == 1


def test_the_first_style_follows_a_prompt_of_ones_own() -> None:
    held = Held()
    held.update({"prompt": "my own"})
    keys_of(held, ("a", "b"), []).press("right")
    assert held.config.prompt == "a"


def test_the_keys_explain_themselves() -> None:
    told: list[str] = []
    keys_of(Held(), (), told).press("?")
    assert all(key in told[0] and text in told[0] for key, text in HELP)


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("\x1b[A\x1b[Bq", ["up", "down", "q"]),
        ("\x1bOP\x1b[15~ ?", ["f1", "f5", "space", "?"]),
        ("\x1b", ["escape"]),
        ("\x1b[1;5Cx", ["x"]),
        ("\x1b[3~\r\t3", ["3"]),
        ("\xe0H\x00;é", ["up", "f1", "é"]),
        ("", []),
    ],
)
def test_what_terminals_send(sent: str, keys: list[str]) -> None:
    assert split(sent) == keys


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo terminals there")
def test_in_the_background_the_terminal_is_left_alone() -> None:
    import pty

    program = (
        "import fcntl, os, termios\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os.setpgid(0, 0)\n"
        "    from apps.controls.terminal import TerminalKeys\n"
        "    with TerminalKeys(print): os._exit(7)\n"
        "_, status = os.waitpid(child, os.WUNTRACED)\n"
        "print('stopped' if os.WIFSTOPPED(status) else os.WEXITSTATUS(status))\n"
    )
    _, slave = pty.openpty()
    done = subprocess.run([sys.executable, "-c", program], stdin=slave, capture_output=True, text=True, timeout=30,
                          start_new_session=True, cwd=Path(__file__).parents[3])  # fmt: skip
    assert done.stdout == "7\n", done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo terminals there")
def test_a_terminal_gives_single_keys_and_is_as_before_afterwards() -> None:
    import pty
    import termios

    program = (
        "import time; from apps.controls.terminal import TerminalKeys\n"
        "with TerminalKeys(lambda key: print('key', key, flush=True)):\n"
        "    print('ready', flush=True); time.sleep(1.5)\n"
    )
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    process = subprocess.Popen([sys.executable, "-c", program], stdin=slave, stdout=subprocess.PIPE, text=True,
                               cwd=Path(__file__).parents[3])  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    os.write(master, b"\x1b[A")
    time.sleep(0.3)
    os.write(master, b"q")
    told, _ = process.communicate(timeout=20)
    assert told.split("\n")[:2] == ["key up", "key q"]
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)
