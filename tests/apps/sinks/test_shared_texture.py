"""Spout and Syphon, at the boundary of their libraries: neither is on the machines that run these tests."""

from __future__ import annotations

import sys
import threading
import types
from typing import Any

import numpy as np
import pytest

from apps.sinks.sink import Picture, Sink
from apps.sinks.uri import sink_from
from streamdiff.errors import ConfigError, DeviceError
from streamdiff.frame import Frame

PICTURE = Picture(16, 8, 30)


class Recorder:
    """Keeps what was called, in which thread; ``fails`` makes the driver refuse."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.threads: set[int] = set()
        self.fails = False
        self.device = "device"

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any) -> Any:
            self.calls.append((name, given))
            self.threads.add(threading.get_ident())
            return not (self.fails and name in ("sendImage", "createOpenGL"))

        return call


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    spout, syphon = types.ModuleType("SpoutGL"), types.ModuleType("syphon")
    raw, arrays = types.ModuleType("syphon.utils.raw"), types.ModuleType("syphon.utils.numpy")
    spout.SpoutSender = lambda: made  # type: ignore[attr-defined]
    syphon.SyphonMetalServer = lambda name: made.named(name) and made  # type: ignore[attr-defined]
    raw.create_mtl_texture = lambda *given: ("texture", *given)  # type: ignore[attr-defined]
    arrays.copy_image_to_mtl_texture = lambda image, texture: made.copied(image.copy(), texture)  # type: ignore[attr-defined]
    modules = {"SpoutGL": spout, "syphon": syphon, "syphon.utils": types.ModuleType("syphon.utils"),
               "syphon.utils.raw": raw, "syphon.utils.numpy": arrays}  # fmt: skip
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return made


def opened(text: str) -> Sink:
    return sink_from(text, lambda _: pytest.fail("no window"))(PICTURE)


def red(sink: Sink) -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[0, :, 0] = 200
    sink.write(Frame(pixels, pts=0.0))


def test_spout(libraries: Recorder) -> None:
    sink = opened("spout:stage")
    assert not libraries.calls  # the context is the writing thread's
    writer = threading.Thread(target=red, args=(sink,))
    writer.start()
    writer.join()
    assert libraries.threads == {writer.ident}
    (_, _), (_, named), (sent, (data, width, height, kind, inverted, _)) = libraries.calls
    assert named == ("stage",) and sent == "sendImage" and (width, height, kind, inverted) == (16, 8, 0x1908, False)
    picture = np.frombuffer(data, np.uint8).reshape(8, 16, 4)
    assert picture[0, 0].tolist() == [200, 0, 0, 255] and picture[7, 0].tolist() == [0, 0, 0, 255]
    sink.close()
    sink.close()
    assert [name for name, _ in libraries.calls][-2:] == ["releaseSender", "closeOpenGL"]


def test_syphon(libraries: Recorder) -> None:
    sink = opened("syphon")
    red(sink)
    assert [name for name, _ in libraries.calls] == ["named", "copied", "publish_frame_texture"]
    image, texture = libraries.calls[1][1]
    assert image[0, 0].tolist() == [200, 0, 0, 255] and texture == ("texture", "device", 16, 8)
    sink.close()
    assert libraries.calls[-1][0] == "stop"


def test_a_driver_that_refuses_is_a_lost_sink(libraries: Recorder) -> None:
    libraries.fails = True
    with pytest.raises(DeviceError, match="spout streamdiff: cannot be sent"):
        red(opened("spout"))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="it may be installed there")
def test_where_there_is_none() -> None:
    with pytest.raises(ConfigError, match="needs Windows and SpoutGL"):
        opened("spout")
    with pytest.raises(ConfigError, match="needs macOS and syphon-python"):
        opened("syphon")
