"""Measures the web server with a real browser on this machine: python -m scripts.measure_latency [--seconds 20].

Starts ``streamdiff serve``, opens its page in a headless Chromium whose camera is a moving test picture of 30 frames a
second, presses start, and lets the page stamp what it sends and read it back out of the stylised picture (its own
"Measure latency"): canvas drawn to frame presented, glass to glass. Nothing else should run meanwhile.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import cv2
import httpx
import numpy as np
import typer
from playwright.sync_api import Page, sync_playwright

PART = 30.0
"""Seconds of each part of a run whose latency is given apart: a growing latency would show."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
COLLECT = """() => {
  window.__shown = []; window.__latencies = [];
  const video = document.querySelector('#output');
  video.addEventListener('latency', (event) => window.__latencies.push([performance.now(), event.detail]));
  const next = (now) => { window.__shown.push(now); video.requestVideoFrameCallback(next); };
  video.requestVideoFrameCallback(next);
}"""


def camera(path: Path, seconds: float = 2.0, fps: int = 30) -> None:
    """A moving picture for Chromium's fake camera (MJPEG): coloured shapes over a slow gradient, 640x480."""
    rows, cols = np.mgrid[:480, :640]
    with path.open("wb") as file:
        for i in range(int(seconds * fps)):
            turn = 2 * np.pi * i / (seconds * fps)
            waves = [127 + 100 * np.sin(cols / 90 + rows / 130 + turn + c) for c in (0, 2, 4)]
            picture = np.asarray(np.stack(waves, -1), dtype=np.uint8)
            place = (int(320 + 180 * np.cos(turn)), int(240 + 120 * np.sin(turn)))
            cv2.circle(picture, place, 70, (40, 80, 240), -1)
            cv2.rectangle(picture, (80, 300), (200, 420), (240, 240, 240), -1)
            file.write(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())


def percentile(values: list[float], percent: float) -> float:
    """Rounded to a tenth; NaN when there are none."""
    return round(float(np.percentile(values, percent)), 1) if values else float("nan")


def measure(page: Page, url: str, style: str, seconds: float) -> dict[str, Any]:
    """One run: press start, let it settle, collect."""
    page.goto(url)
    page.locator("#prompt").fill(style)
    page.locator("#measure").click()
    page.evaluate(COLLECT)
    clicked = page.evaluate("performance.now()")
    page.locator("#start").click()
    while not page.evaluate("window.__shown.length"):  # the page's policy forbids Playwright's own way of waiting
        page.wait_for_timeout(100)
    first = page.evaluate("window.__shown[0]") - clicked
    page.wait_for_timeout(3000)
    begin = page.evaluate("performance.now()")
    page.wait_for_timeout(int(seconds * 1000))
    end = page.evaluate("performance.now()")
    shown = [t for t in page.evaluate("window.__shown") if begin <= t <= end]
    reads = [(t, v) for t, v in page.evaluate("window.__latencies") if begin <= t <= end]
    latencies = [v for _, v in reads if v is not None]
    parts = max(1, round(seconds / PART))
    by_part = [
        [v for t, v in reads if v is not None and int((t - begin) / (end - begin) * parts) == i] for i in range(parts)
    ]
    stats = httpx.get(f"{url}api/sessions").json()["sessions"][0]["stats"]
    return {
        "seconds": seconds,
        "style": style,
        "frames_per_second": round(len(shown) / (end - begin) * 1000, 1),
        "latency_p50_ms": percentile(latencies, 50),
        "latency_p95_ms": percentile(latencies, 95),
        "latency_p50_in_turn_ms": [percentile(part, 50) for part in by_part],
        "codes_read": round(len(latencies) / max(1, len(reads)), 3),
        "click_to_first_frame_ms": round(first),
        "server_latency_p50_ms": round(1000 * (stats["latency_p50"] or 0), 1),
        "model_p50_ms": round(1000 * (stats["model_p50"] or 0), 1),
        "dropped": stats["dropped_in"] + stats["dropped_out"],
        "limited_by": stats["limited_by"],
    }


def main(
    seconds: Annotated[float, typer.Option(help="length of the run")] = 20.0,
    style: Annotated[str, typer.Option(help="prompt")] = "pencil sketch",
    size: Annotated[int, typer.Option(help="side of the stream's picture")] = 256,
    output: Annotated[Path | None, typer.Option(help="JSON file")] = None,
) -> None:
    """Measure frames per second, latency and the time to the first frame."""
    browser = next((p for name in BROWSERS if (p := shutil.which(name))), None)
    if browser is None:
        raise typer.BadParameter("no Chromium on this machine")
    command = [
        sys.executable,
        "-m",
        "apps.cli.main",
        "serve",
        "--port",
        "0",
        "--width",
        str(size),
        "--height",
        str(size),
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        url = server.stdout.readline().split()[-1]
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
            film = Path(folder) / "camera.mjpeg"
            camera(film)
            flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--no-sandbox"]
            flags.append(f"--use-file-for-fake-video-capture={film}")
            started = playwright.chromium.launch(executable_path=browser, args=flags)
            page = started.new_page(viewport={"width": 1280, "height": 860})
            figures = measure(page, url, style, seconds)
            started.close()
    finally:
        server.terminate()
        server.wait(20)
    print(json.dumps(figures, indent=1))
    if output is not None:
        output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
