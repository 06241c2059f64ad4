"""The server's surroundings: certificate, logs, turns."""

from __future__ import annotations

import json
import logging
import ssl
import stat
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from apps.certificate import certificate_files
from apps.run_config import RunConfig
from apps.webrtc import logs
from apps.webrtc import server as serving
from apps.webrtc.peer import with_start_bitrate
from apps.webrtc.sessions import Sessions
from apps.webrtc.turns import Turns
from streamdiff import ConfigError
from tests.toy import toy


def test_the_certificate_is_made_once_and_fits_its_key(tmp_path: Path) -> None:
    certificate, key = certificate_files(tmp_path)
    before = certificate.read_bytes()
    assert certificate_files(tmp_path)[0].read_bytes() == before
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    key.write_text("damaged")
    assert certificate_files(tmp_path)[0].read_bytes() != before


def test_https_with_a_token_from_the_command_line(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "apps.cli.main",
        "serve",
        "--host",
        "0.0.0.0",
        "--port",
        "0",
        "--https",
        "--json-log",
    ]
    command += ["--width", "64", "--height", "64"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("open https://"), process.stderr.read() if process.poll() is not None else line
        address = line.split()[1]
        port = httpx.URL(address).port
        token = httpx.URL(address).params["token"]
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=False) as http:
            assert http.get("/healthz").status_code == 401
            assert http.get("/healthz", headers={"authorization": f"Bearer {token}"}).json()["ok"] is True
            assert "Secure" in http.get(f"/?token={token}").headers["set-cookie"]
    finally:
        process.terminate()
        assert process.wait(20) in (0, 143)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host", "no.such.host.invalid"], "no such address"),
        (["--ice", "what"], "stun:HOST"),
        (["--prompt", "x", "--strength", "7"], "strength"),
        (["--model", "/no/such/model"], "is not there"),
    ],
)
def test_bad_options_get_one_line(options: list[str], says: str) -> None:
    command = [sys.executable, "-m", "apps.cli.main", "serve", "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and says in done.stderr and "Traceback" not in done.stderr


def test_turns_are_taken_in_order() -> None:
    turns, order = Turns(), []

    def take(number: int) -> None:
        with turns:
            order.append(number)
            time.sleep(0.002)

    with turns:
        threads = []
        for number in range(8):
            threads.append(threading.Thread(target=take, args=(number,)))
            threads[-1].start()
            while turns.waiting <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join(5)
    assert order == list(range(8)) and turns.waiting == 0
    with turns, pytest.raises(RuntimeError), Turns():
        raise RuntimeError  # one that fails gives its turn back
    with turns:
        assert turns.waiting == 0


def test_logs_name_the_session(capsys: pytest.CaptureFixture[str]) -> None:
    kept = (logs.log.handlers, logs.log.level, logs.log.propagate)
    try:
        logs.install(as_json=True)
        logs.told("k3", "opened (%d of %d)", 1, 2)
        entry = json.loads(capsys.readouterr().err)
        assert (entry["session"], entry["event"], entry["level"]) == ("k3", "opened (1 of 2)", "info")
        logs.install(as_json=False)
        logs.told("k3", "gone", level=logging.WARNING)
        assert capsys.readouterr().err.endswith("warning k3 gone\n")
    finally:
        logs.log.handlers, logs.log.level, logs.log.propagate = kept


def test_the_start_bitrate_is_named_for_video_codecs_alone() -> None:
    lines = ["v=0", "a=rtpmap:96 VP8/90000", "a=rtpmap:97 rtx/90000", "a=fmtp:97 apt=96", "a=rtpmap:98 H264/90000"]
    sdp = "\r\n".join([*lines, "a=fmtp:98 x=1", ""])
    out = with_start_bitrate(sdp).splitlines()
    assert "a=fmtp:96 x-google-start-bitrate=1500" in out
    assert "a=fmtp:98 x=1;x-google-start-bitrate=1500" in out
    assert "a=fmtp:97 apt=96" in out and len(out) == 7


def served(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Sessions:
    """What would be served to begin with these settings."""
    made, found = toy(), []
    stream = SimpleNamespace(config=RunConfig.make(**settings), model=made.model, runtime=made.runtime)

    async def run(listening: object, sessions: Sessions, *_: object) -> None:
        found.append(sessions)

    monkeypatch.setattr(serving, "open_run", lambda *_: nullcontext(stream))
    monkeypatch.setattr(serving, "rolling_of", lambda _: lambda: None)
    monkeypatch.setattr(serving, "_serve", run)
    choice: Any = None
    serving.serve(choice, serving.Serving(host="127.0.0.1", port=0))
    return found[0]


def test_what_the_operator_begins_with_every_visitor_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = served(monkeypatch, width=1920, height=1080)
    assert sessions.limits.check(sessions.defaults, {}).width == 1920
    with pytest.raises(ConfigError, match="more than this server allows"):
        sessions.limits.check(sessions.defaults, {"width": 1928})
    with pytest.raises(ConfigError, match="frames one by one"):
        served(monkeypatch, frame_buffer_size=2)
