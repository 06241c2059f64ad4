"""Sends a moving pattern in real time with FFmpeg's WHIP muxer.

python -m tests.apps.webrtc.send_clip URL SECONDS FPS CERTIFICATE KEY

A process of its own: the muxer's handshake holds the interpreter, which a server in the same process would wait for.
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction

import av
import numpy as np


def send_clip(url: str, seconds: float, fps: int, certificate: str, key: str) -> None:
    options = {"preset": "ultrafast", "tune": "zerolatency", "bf": "0"}
    with av.open(url, "w", format="whip", options={"cert_file": certificate, "key_file": key}) as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        stream.codec_context.profile = "Baseline"
        stream.codec_context.gop_size = fps
        began = time.monotonic()
        for i in range(int(seconds * fps)):
            time.sleep(max(0.0, began + i / fps - time.monotonic()))
            rows = (np.arange(128)[:, None, None] + np.arange(128)[None, :, None] + 5 * i) % 256
            picture = np.ascontiguousarray(np.broadcast_to(rows, (128, 128, 3)).astype(np.uint8))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    send_clip(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
