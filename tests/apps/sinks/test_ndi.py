"""NDI out, seen by another process through NDI's own library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cyndilib", reason="cyndilib is not installed: pip install 'streamdiff[ndi]'")

RECEIVE = """
import json, sys, time
from cyndilib.finder import Finder
from cyndilib.receiver import Receiver
from cyndilib.video_frame import VideoFrameSync
from cyndilib.wrapper.ndi_recv import RecvBandwidth, RecvColorFormat

finder, name, until = Finder(), None, time.monotonic() + 15
finder.open()
while name is None and time.monotonic() < until:
    name = next((n for n in finder.get_source_names() if sys.argv[1] in n), None)
    time.sleep(0.05)
if name is None:
    sys.exit(3)
receiver, video = Receiver(color_format=RecvColorFormat.RGBX_RGBA, bandwidth=RecvBandwidth.highest), VideoFrameSync()
receiver.frame_sync.set_video_frame(video)
receiver.set_source(finder.get_source(name))
seen, until = [], time.monotonic() + 20
while len(seen) < 40 and time.monotonic() < until:
    receiver.frame_sync.capture_video()
    width, height = video.get_resolution()
    if width and (not seen or video.get_timestamp_posix() != seen[-1][0]):
        pixels = video.get_array().reshape(height, -1)[:, : 4 * width].reshape(height, width, 4)
        seen.append([video.get_timestamp_posix(), pixels[height // 2, width // 2, :3].tolist()])
    time.sleep(0.002)
print(json.dumps({"size": [width, height], "seen": seen}))
"""

SEND = """
import sys, time
import numpy as np
from apps.sinks.sink import Picture
from apps.sinks.uri import sink_from
from streamdiff.frame import Frame

sink = sink_from("ndi:" + sys.argv[1], lambda _: None)(Picture(64, 48, 30))
began = time.monotonic()
print(sink.name, flush=True)
for i in range(1200):
    time.sleep(max(0.0, began + i / 30 - time.monotonic()))
    sink.write(Frame(np.full((48, 64, 3), (20 + i % 200, 30, 200), np.uint8), pts=i / 30))
"""


def test_another_program_sees_the_pictures_at_their_pace(tmp_path: Path) -> None:
    # NDI finds its sources by multicast, which a container may not have: it is told to ask this machine itself.
    (tmp_path / "ndi-config.v1.json").write_text('{"ndi": {"networks": {"ips": "127.0.0.1,"}}}')
    environment = {**os.environ, "NDI_CONFIG_DIR": str(tmp_path)}
    root, name = Path(__file__).parents[3], f"test {os.getpid()}"
    sender = subprocess.Popen([sys.executable, "-c", SEND, name], cwd=root, env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)  # fmt: skip
    watchdog = threading.Timer(60, sender.kill)
    watchdog.start()
    try:
        assert sender.stdout is not None
        assert sender.stdout.readline() == f"ndi {name}\n"
        receiver = subprocess.run([sys.executable, "-c", RECEIVE, name], capture_output=True, text=True, timeout=60,
                                  env=environment)  # fmt: skip
    finally:
        watchdog.cancel()
        sender.kill()
        sender.communicate()
    if receiver.returncode == 3:
        pytest.skip("NDI finds no sources on this machine's network")
    told = json.loads(receiver.stdout)
    assert told["size"] == [64, 48] and len(told["seen"]) == 40
    times, colours = zip(*told["seen"], strict=True)
    assert np.median(np.diff(times)) == pytest.approx(1 / 30, abs=0.006)
    assert all(abs(c[1] - 30) < 6 and abs(c[2] - 200) < 15 for c in colours)
    assert len({c[0] for c in colours}) > 10
