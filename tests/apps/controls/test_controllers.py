"""OSC, MIDI and HTTP, from real clients over real ports."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.controls.actions import Actions
from apps.controls.desk import Desk, Wanted
from apps.controls.http import Http
from apps.controls.midi import RANGES, Midi, scaled
from apps.controls.osc import Osc
from apps.controls.presets import Presets
from streamdiff.config import StreamConfig
from streamdiff.errors import ConfigError
from tests.apps.controls.held import Held, soon

osc_client = pytest.importorskip("pythonosc.udp_client", reason="python-osc is not installed")
mido: Any = pytest.importorskip("mido", reason="mido is not installed")


@pytest.fixture
def presets(tmp_path: Path) -> Presets:
    path = tmp_path / "p.toml"
    path.write_text('[night]\nprompt = "neon"\n[paper]\nprompt = "paper cut"\n')
    return Presets(path)


def test_osc_sets_settings(presets: Presets) -> None:
    held, told = Held(), list[str]()
    with Osc(Actions(held, ("a", "b"), presets, told.append), "127.0.0.1", 0) as osc:
        client = osc_client.SimpleUDPClient("127.0.0.1", osc.port)
        for address, value, name, wanted in (
            ("/streamdiff/strength", 0.25, "strength", 0.25),
            ("/streamdiff/steps", 2.0, "steps", 2),
            ("/streamdiff/guidance-scale", 1.5, "guidance_scale", 1.5),
            ("/streamdiff/prompt", "mosaic at night", "prompt", "mosaic at night"),
            ("/streamdiff/timesteps", [700, 300], "timesteps", (700, 300)),
            ("/streamdiff/timesteps", "", "timesteps", None),
            ("/streamdiff/negative_prompt", "", "negative_prompt", ""),
            ("/streamdiff/preset", "night", "prompt", "neon"),
            ("/streamdiff/preset", 2, "prompt", "paper cut"),
            ("/streamdiff/style", 1, "prompt", "a"),
            ("/streamdiff/seed", [], "seed", 1),
        ):
            client.send_message(address, value)
            assert soon(lambda name=name, wanted=wanted: getattr(held.config, name) == wanted), address
        before = held.config
        client.send_message("/streamdiff/strength", 7.0)
        client.send_message("/streamdiff/nonsense", 1)
        for address in ("strength", "steps", "preset", "style"):
            client.send_message(f"/streamdiff/{address}", float("nan"))
        client.send_message("/other/strength", 0.9)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rude:
            rude.sendto(b"\xff not osc", ("127.0.0.1", osc.port))
        client.send_message("/streamdiff/stop", [])
        assert soon(lambda: held.stopped == 1)
        assert held.config.strength == pytest.approx(before.strength)
        assert sum("nan is no number" in line for line in told) == 4
        assert any("strength" in line for line in told) and any("nonsense" in line for line in told)


def test_a_bundle_for_another_time_keeps_nobody_waiting() -> None:
    from pythonosc import osc_bundle_builder, osc_message_builder

    held = Held()
    bundle = osc_bundle_builder.OscBundleBuilder(time.time() + 3600)  # a sender whose clock is ahead
    message = osc_message_builder.OscMessageBuilder("/streamdiff/strength")
    message.add_arg(0.25)
    bundle.add_content(message.build())
    with Osc(Actions(held, (), None, print), "127.0.0.1", 0) as osc:
        client = osc_client.SimpleUDPClient("127.0.0.1", osc.port)
        client.send(bundle.build())
        client.send_message("/streamdiff/steps", 2)
        assert soon(lambda: (held.config.strength, held.config.steps) == (0.25, 2))


def test_midi_moves_settings_and_chooses() -> None:
    held, told = Held(), list[str]()
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with Midi(Actions(held, ("a", "b", "c"), tell=told.append), f"127.0.0.1:{port}"):
        from mido.sockets import connect

        with connect("127.0.0.1", port) as out:
            out.send(mido.Message("control_change", control=1, value=127))
            assert soon(lambda: held.config.strength == 1.0)
            out.send(mido.Message("control_change", control=5, value=60))
            assert soon(lambda: held.config.steps == 2)
            out.send(mido.Message("note_on", note=38, velocity=90))
            assert soon(lambda: held.config.prompt == "c")
            out.send(mido.Message("note_on", note=36, velocity=0))  # a key that is let go
            out.send(mido.Message("control_change", control=99, value=1))
            out.send(mido.Message("program_change", program=1))
            assert soon(lambda: held.config.prompt == "b")
            for value in range(128):
                out.send(mido.Message("control_change", control=2, value=value))
            assert soon(lambda: held.config.blend == 1.0)


class Pulled:
    """A controller that is unplugged after one message."""

    def __init__(self, name: str) -> None:
        self.name, self._asked = name, 0

    def iter_pending(self) -> list[Any]:
        self._asked += 1
        if self._asked > 1:
            raise OSError("gone")
        return [mido.Message("control_change", control=1, value=127)]

    def close(self) -> None:
        raise OSError("gone")


def test_a_controller_by_its_name_and_unplugged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mido, "get_input_names", lambda: ["Through 14:0", "nanoKONTROL2 20:0"])
    monkeypatch.setattr(mido, "open_input", Pulled)
    held, told = Held(), list[str]()
    for wanted in ("nanokontrol", "nanoKONTROL2 20:0"):
        with Midi(Actions(held, tell=told.append), wanted) as midi:
            assert midi.port.name == "nanoKONTROL2 20:0"
            assert soon(lambda: any("the controller is lost (gone)" in line for line in told))
        told.clear()
    assert held.config.strength == 1.0


def test_a_sender_that_hangs_up_rudely_disturbs_no_other() -> None:
    from mido.sockets import connect

    held = Held()
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with Midi(Actions(held), f"127.0.0.1:{port}"):
        rude = socket.create_connection(("127.0.0.1", port))
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        rude.send(b"\xb0")
        rude.close()  # a reset, in the middle of a message
        with connect("127.0.0.1", port) as out:
            out.send(mido.Message("control_change", control=1, value=127))
            assert soon(lambda: held.config.strength == 1.0)


def test_a_knob_of_another_number() -> None:
    held = Held()
    with Midi(Actions(held), "127.0.0.1:0?cc20=delta") as midi:
        assert midi.controls == {20: "delta"}


@pytest.mark.parametrize("name", sorted(RANGES))
def test_every_position_of_a_knob_is_a_valid_setting(name: str) -> None:
    for value in range(128):
        StreamConfig().changed(**{name: scaled(name, value)})
    assert (scaled(name, 0), scaled(name, 127)) == RANGES[name]


def test_http_is_the_servers_settings_resource(presets: Presets) -> None:
    held = Held()
    with Http(Actions(held, ("a",), presets), "127.0.0.1", 0) as http:
        session = f"{http.address}api/sessions/live"
        with httpx.Client() as client:
            assert client.get(f"{session}/settings").json()["prompt"] == "b"
            changed = client.patch(f"{session}/settings", json={"strength": 0.7})
            assert changed.json()["strength"] == 0.7 == held.config.strength
            wrong = client.patch(f"{session}/settings", json={"strength": 7})
            assert wrong.status_code == 422 and "strength" in wrong.json()["error"] and held.config.strength == 0.7
            assert client.patch(f"{http.address}api/sessions/other/settings", json={}).status_code == 404
            assert client.get(session).json()["messages"] == ["a thing happened"]
            assert client.get(f"{http.address}api/presets").json() == {"presets": ["night", "paper"], "styles": ["a"]}
            assert client.post(f"{http.address}api/presets/paper").json()["prompt"] == "paper cut"
            assert client.post(f"{http.address}api/presets/none").status_code == 404
            elsewhere = client.patch(f"{session}/settings", json={}, headers={"Origin": "https://elsewhere.example"})
            assert elsewhere.status_code == 403
            assert client.get(session, headers={"Host": "elsewhere.example"}).status_code == 421
            assert "/api/sessions/{name}/settings" in client.get(f"{http.address}openapi.json").json()["paths"]
            assert client.delete(session).json() == {"ended": "live"} and held.stopped == 1
    with pytest.raises(httpx.ConnectError):
        httpx.get(session)


def test_where_others_can_reach_it_http_wants_a_token() -> None:
    with Http(Actions(Held()), "0.0.0.0", 0) as http:
        assert http.token
        url = http.address.replace("0.0.0.0", "127.0.0.1") + "api/sessions/live"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"Authorization": f"Bearer {http.token}"}).status_code == 200


def test_the_desk_opens_what_was_asked_for_and_nothing_else(tmp_path: Path) -> None:
    held, said = Held(), list[str]()
    (tmp_path / "t.toml").write_text("[[point]]\nat = 0\nprompt = 'from the timeline'\n")
    desk = Desk(Wanted(timeline=tmp_path / "t.toml", osc="0", http="127.0.0.1:0"))
    desk.steer(held, (), lambda _: None)
    desk.open(said.append)
    assert [line.split()[0] for line in said] == ["OSC", "HTTP"]
    assert soon(lambda: held.config.prompt == "from the timeline")
    desk.close()


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (Wanted(osc="loud"), "--osc loud: a port"),
        (Wanted(http="80000"), "--http 80000: a port"),
        (Wanted(token="secret"), "--token is for --http"),
        (Wanted(presets=Path("none.toml")), "no such file"),
        (Wanted(midi="no such thing"), "no MIDI port 'no such thing'"),
        (Wanted(midi="127.0.0.1:0?cc1=width"), "'width' cannot be on a knob"),
        (Wanted(midi="127.0.0.1:0?cc200=delta"), "unknown option 'cc200'"),
        (Wanted(http="0", token="not allowed!"), "token: letters"),
    ],
)
def test_what_cannot_be_is_one_line(wanted: Wanted, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        desk = Desk(wanted)
        desk.steer(Held(), (), lambda _: None)
        desk.open(lambda _: None)


def test_a_port_that_is_taken_closes_what_was_open() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        desk = Desk(Wanted(osc=str(port), http=str(taken.getsockname()[1])))
        desk.steer(Held(), (), lambda _: None)
        with pytest.raises(ConfigError, match="cannot listen"):
            desk.open(lambda _: None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", port))
