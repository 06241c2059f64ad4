"""The page in a real browser, as a new user meets it: a camera (fed from real footage), one click, a moving picture."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
CLIPS = Path("../shared/data/clips")
SCREENSHOTS = os.environ.get("STREAMDIFF_SCREENSHOTS")
SIZE = int(os.environ.get("STREAMDIFF_SIZE", "128"))

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine; make test installs it where it can"),
]

GRAB = """() => {
  const video = document.querySelector('#output');
  if (!video.videoWidth) return null;
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth; canvas.height = video.videoHeight;
  canvas.getContext('2d').drawImage(video, 0, 0);
  return canvas.toDataURL('image/png').split(',')[1];
}"""


class Server:
    """``streamdiff serve`` in a process of its own, on a port that stays the same when it is started again."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://localhost:{self.port}/"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "apps.cli.main", "serve", "--port", str(self.port), "--max-sessions", "3"]
        command += ["--width", str(SIZE), "--height", str(SIZE)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout is not None
        lines = iter(self.process.stdout.readline, "")
        assert any(self.url in line for line in lines), "it did not start"

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(how)
        self.process.wait(20)

    def sessions(self) -> list[dict[str, Any]]:
        return httpx.get(f"{self.url}api/sessions").json()["sessions"]


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a clip as Chromium's fake camera wants it (MJPEG)."""
    path = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    pictures: list[Image.Image] = []
    if (CLIPS / "tears-of-steel.mp4").exists() and not SCREENSHOTS:  # what is kept shows a picture in the public domain
        with av.open(str(CLIPS / "tears-of-steel.mp4")) as container:
            for frame in container.decode(video=0):
                pictures.append(frame.to_image().resize((320, 240)))
                if len(pictures) == 60:
                    break
    else:
        astronaut = Image.fromarray(pytest.importorskip("skimage.data").astronaut())
        places = [30 + abs(30 - i) for i in range(60)]
        pictures = [astronaut.crop((i, i // 2, i + 400, i // 2 + 300)).resize((640, 480)) for i in places]
    with path.open("wb") as file:
        for picture in pictures:
            picture.save(file, "JPEG", quality=90)
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser(footage: Path) -> Iterator[Any]:
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--no-sandbox"]
    flags.append(f"--use-file-for-fake-video-capture={footage}")
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield made
        made.close()


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def page(browser: Any, server: Server, problems: list[str]) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    yield open_page(context, server.url, problems)
    context.close()
    until(lambda: not server.sessions(), 20)
    # What the page cannot help: the browser itself reports requests that fail while the server is away.
    serious = [p for p in problems if "Failed to load resource" not in p]
    assert not serious, serious


def open_page(context: Any, url: str, problems: list[str]) -> Any:
    made = context.new_page()
    made.on("pageerror", lambda error: problems.append(str(error)))
    made.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    made.goto(url)
    return made


def until(what: Callable[[], object], seconds: float = 20.0) -> Any:
    began = time.monotonic()
    while not (value := what()):
        assert time.monotonic() - began < seconds, "it did not happen"
        time.sleep(0.1)
    return value


def picture(page: Any) -> np.ndarray:
    import base64

    data = until(lambda: page.evaluate(GRAB))
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(float)


def saturation(pixels: np.ndarray) -> float:
    return float((pixels.max(-1) - pixels.min(-1)).mean())


def live(page: Any) -> None:
    playwright.expect(page.locator("#status")).to_have_text(re.compile("live", re.IGNORECASE), timeout=30_000)
    until(lambda: page.evaluate("document.querySelector('#output').videoWidth") == SIZE)


def keep(page: Any, name: str) -> None:
    if SCREENSHOTS:
        page.wait_for_timeout(3000)  # for the figures
        # Chromium calls its fake camera by the name of the file it reads.
        page.evaluate(
            "for (const o of document.querySelectorAll('#source option')) if (o.text.includes('/')) o.text = 'Camera'"
        )
        page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"))


def test_one_click_and_the_picture_moves(page: Any) -> None:
    keep(page, "page-start")
    page.locator("#start").click()
    live(page)
    first = picture(page)
    assert first.std() > 10
    until(lambda: np.abs(picture(page) - first).mean() > 1.5)
    until(lambda: page.locator("#overlay").inner_text().strip())


def test_prompt_and_strength_change_the_running_picture(page: Any) -> None:
    page.locator("#start").click()
    live(page)
    page.locator('#styles [data-style="pencil sketch"]').click()
    until(lambda: saturation(picture(page)) < 14)
    keep(page, "page-live")
    page.locator("#prompt").fill("neon")
    page.locator("#prompt").press("Enter")
    until(lambda: np.median(picture(page)) < 75)
    page.locator("#prompt").fill("pop art")
    page.locator("#prompt").press("Enter")
    until(lambda: saturation(picture(page)) > 90)
    strong = saturation(picture(page))
    page.locator("#strength").fill("0.1")
    until(lambda: saturation(picture(page)) < 0.8 * strong)


def test_the_rolling_window_is_a_choice(page: Any, server: Server) -> None:
    page.locator("#start").click()
    live(page)
    steps = page.locator('[data-setting="steps"]')
    assert steps.is_visible()
    page.locator("#mode").select_option("rolling")
    until(lambda: server.sessions()[0]["settings"]["mode"] == "rolling")
    assert not steps.is_visible()
    first = picture(page)
    until(lambda: np.abs(picture(page) - first).mean() > 1.5)
    keep(page, "page-rolling")
    assert page.evaluate("document.querySelector('#output').videoWidth") == SIZE
    page.locator("#mode").select_option("stream")
    until(lambda: server.sessions()[0]["settings"]["mode"] == "stream" and steps.is_visible())


def test_a_lost_connection_comes_back_with_its_settings(page: Any, server: Server) -> None:
    page.locator("#prompt").fill("pencil sketch")
    page.locator("#start").click()
    live(page)
    until(lambda: server.sessions())
    before = server.sessions()[0]
    assert before["settings"]["prompt"] == "pencil sketch"
    httpx.delete(f"{server.url}api/sessions/{before['id']}")
    after = until(server.sessions, 30)[0]
    assert after["settings"]["prompt"] == "pencil sketch"
    assert after["id"] == before["id"]  # links to it go on working
    live(page)
    server.stop(signal.SIGKILL)
    playwright.expect(page.locator("#status")).not_to_have_text(re.compile("^live$", re.IGNORECASE), timeout=30_000)
    keep(page, "page-reconnecting")
    server.start()
    until(lambda: server.sessions(), 40)
    live(page)
    until(lambda: saturation(picture(page)) < 14)


def test_two_tabs_each_get_their_own_picture(page: Any, browser: Any, server: Server, problems: list[str]) -> None:
    context = browser.new_context()
    other = open_page(context, server.url, problems)
    page.locator("#prompt").fill("pencil sketch")
    other.locator("#prompt").fill("pop art")
    for tab in (page, other):
        tab.locator("#start").click()
    for tab in (page, other):
        live(tab)
    until(lambda: saturation(picture(page)) < 14 and saturation(picture(other)) > 60)
    context.close()


def test_a_viewer_page_for_obs(page: Any, browser: Any, server: Server, problems: list[str]) -> None:
    page.locator("#start").click()
    live(page)
    session = until(server.sessions)[0]
    context = browser.new_context()
    viewer = open_page(context, f"{server.url}{session['view'].lstrip('/')}", problems)
    until(lambda: viewer.evaluate("(document.querySelector('video') || {}).videoWidth") == SIZE)
    context.close()


def test_it_says_what_is_wrong_with_the_camera(browser: Any, server: Server) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(
        "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'))"
    )
    page.goto(server.url)
    page.locator("#start").click()
    playwright.expect(page.locator("#problem")).to_contain_text("may not use the camera")
    keep(page, "page-refused")
    context.close()


def test_a_question_that_nobody_answers_holds_nothing_up(browser: Any, server: Server, problems: list[str]) -> None:
    context = browser.new_context()
    context.add_init_script(
        """const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = (wanted) => new Promise((resolve) => {
          window.answer = async () => { const late = await ask(wanted); resolve(late); return late; };
        });
        navigator.mediaDevices.getDisplayMedia = () => ask({video: true});"""
    )
    page = open_page(context, server.url, problems)
    page.locator("#start").click()
    page.locator("#start").click()
    playwright.expect(page.locator("#toast")).to_contain_text("still asking")
    page.locator("#start-screen").click()
    live(page)
    page.evaluate("window.answer().then((late) => (window.late = late))")
    # The late answer changes nothing, and the camera does not stay on.
    until(lambda: page.evaluate("window.late?.getVideoTracks()[0].readyState") == "ended")
    live(page)
    assert page.locator("#source").input_value() == "screen"
    # Full screen shows what is in the stage alone: what the page has to say goes along.
    page.locator("#fullscreen").click()
    until(lambda: page.evaluate("document.fullscreenElement?.contains(document.querySelector('#toast'))"))
    page.keyboard.press("f")
    until(lambda: page.evaluate("document.querySelector('#toast').parentElement === document.body"))
    context.close()
    until(lambda: not server.sessions())
    assert not problems


def test_a_phone_that_opens_one_camera_at_a_time_changes_it(browser: Any, server: Server, problems: list[str]) -> None:
    context = browser.new_context()
    context.add_init_script(
        """const media = navigator.mediaDevices, ask = media.getUserMedia.bind(media);
        let open = null;
        media.enumerateDevices = async () => ["front", "back"].map(
          (id) => ({kind: "videoinput", deviceId: id, label: id, groupId: ""}));
        media.getUserMedia = async () => {
          if (open?.readyState === "live") throw new DOMException("in use", "NotReadableError");
          const stream = await ask({video: true});
          open = stream.getVideoTracks()[0];
          return stream;
        };"""
    )
    page = open_page(context, server.url, problems)
    page.locator("#start").click()
    live(page)
    page.locator("#source").select_option("camera:back")
    page.wait_for_timeout(1000)
    playwright.expect(page.locator("#problem")).to_be_hidden()
    live(page)
    before = picture(page)
    until(lambda: np.abs(picture(page) - before).mean() > 1)  # and it moves
    context.close()
    until(lambda: not server.sessions())


def test_a_full_server_is_told(page: Any, browser: Any, server: Server, problems: list[str]) -> None:
    contexts = [browser.new_context() for _ in range(3)]
    for context in contexts:
        tab = open_page(context, server.url, problems)
        tab.locator("#start").click()
        live(tab)
    page.locator("#start").click()
    playwright.expect(page.locator("#problem")).to_contain_text(re.compile("full", re.IGNORECASE), timeout=15_000)
    contexts[0].close()
    live(page)  # it tries again by itself
    for context in contexts[1:]:
        context.close()
