"""From ``--input URI`` to a source, and what there is on this machine."""

from __future__ import annotations

from pathlib import Path

from apps.sources.pictures import SUFFIXES
from apps.sources.source import OpenSource, Source
from apps.uri import Uri, parse
from streamdiff.errors import ConfigError, DeviceError, MediaError, StreamdiffError

ADDRESSES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp", "http", "https", "tcp"})
KNOWN = {
    "camera": frozenset({"size", "rate"}),
    "screen": frozenset({"rate"}),
    "pattern": frozenset({"size", "rate"}),
    "": frozenset({"loop", "pace", "seconds"}),
    "srt": frozenset({"listen"}),
    "rtmp": frozenset({"listen"}),
}
KINDS = (
    ("camera, camera:1, camera:NAME", "a webcam by number or part of its name; ?size=1280x720&rate=30"),
    ("screen, screen:2, screen:X,Y,WxH", "a monitor, or a region of the desktop; ?rate=30"),
    ("PATH", "a video file in real time; ?loop=1, ?pace=fast for as fast as the model takes it"),
    ("PICTURE, FOLDER", "a picture, or a folder's one after another; ?seconds=5, ?loop=0 to end with the last"),
    (
        "rtsp:// rtmp:// udp:// http(s)://",
        "a stream; rtmp with ?listen=1 waits for the sender; srt:// where FFmpeg has it",
    ),
    ("pattern", "a test picture with a clock; ?size=512x512&rate=30"),
)


def source_from(text: str) -> OpenSource:
    """What opens a source.

    Raises:
        ConfigError, MediaError: it cannot be meant: an unknown kind or option, a file that is not there.
    """
    uri = _parsed(text)
    if uri.kind == "camera":
        return _camera(uri)
    if uri.kind == "screen":
        return _screen(uri)
    if uri.kind == "pattern":
        return _pattern(uri)
    if uri.kind in ADDRESSES:
        listen = uri.flag("listen")

        def connect() -> Source:
            from apps.sources.network import NetworkSource

            return NetworkSource(uri.rest, listen=listen)

        return connect
    return _file(uri)


def is_address(text: str) -> bool:
    """Whether somebody else sends it, at a pace that does not wait."""
    return _parsed(text).kind in ADDRESSES


def waits_for_sender(text: str) -> bool:
    """Whether opening it takes until somebody sends."""
    return is_address(text) and _parsed(text).flag("listen")


def _parsed(text: str) -> Uri:
    return parse(text, frozenset(k for k in KNOWN if k and k not in ADDRESSES), ADDRESSES, KNOWN)


def found() -> list[str]:
    """The cameras and monitors of this machine, one line each."""
    from apps.sources.camera import cameras
    from apps.sources.screen import open_screen

    lines = [f"camera:{index}  {name}" for index, name in cameras().items()]
    try:
        grabber = open_screen()
    except StreamdiffError:
        return lines
    sizes = [(m["width"], m["height"]) for m in grabber.monitors[1:]]
    grabber.close()
    return lines + [f"screen:{i}  {width}x{height}" for i, (width, height) in enumerate(sizes, 1)]


def _camera(uri: Uri) -> OpenSource:
    (width, height), rate = uri.size("size", (640, 480)), uri.number("rate", 1, 240, 30)

    def opened() -> Source:
        from apps.sources.camera import Camera

        return Camera(uri.rest or "0", width=width, height=height, rate=rate)

    return opened


def _screen(uri: Uri) -> OpenSource:
    rate = uri.number("rate", 1, 240, 30)
    monitor, region = 1, None
    parts = uri.rest.lower().replace("x", ",").split(",") if uri.rest else []
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = [0, 0]
    if len(numbers) == 1:
        monitor = numbers[0]
    elif len(numbers) == 4 and min(numbers[2:]) >= 16:
        region = (numbers[0], numbers[1], numbers[2], numbers[3])
    elif numbers:
        raise ConfigError(f"{uri.text}: screen:2 is a monitor, screen:100,50,640x480 a region (left, top, size)")

    def opened() -> Source:
        from apps.sources.screen import Screen

        return Screen(monitor, region, rate)

    return opened


def _pattern(uri: Uri) -> OpenSource:
    if uri.rest:
        raise ConfigError(f"{uri.text}: pattern takes nothing but ?size= and ?rate=")
    (width, height), rate = uri.size("size", (512, 512)), uri.number("rate", 1, 240, 30)

    def opened() -> Source:
        from apps.sources.pattern import Pattern

        return Pattern(width, height, rate)

    return opened


def _file(uri: Uri) -> OpenSource:
    path = Path(uri.rest)
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        return _slides(uri, path)
    if "seconds" in uri.options:
        raise ConfigError(f"{uri.text}: seconds is for pictures; a video has its own times")
    loop, pace = uri.flag("loop"), uri.options.get("pace", "real")
    if pace not in ("real", "fast"):
        raise ConfigError(f"{uri.text}: pace={pace} must be real or fast")
    _check_there(path, uri)

    def opened() -> Source:
        from apps.sources.file import FileSource

        try:
            return FileSource(path, loop=loop, paced=pace == "real")
        except OSError as error:
            raise DeviceError(f"{path}: cannot be read ({error})") from error

    return opened


def _slides(uri: Uri, path: Path) -> OpenSource:
    if "pace" in uri.options:
        raise ConfigError(f"{uri.text}: pace is for videos; pictures take ?seconds= and ?loop=")
    seconds, loop = uri.number("seconds", 0.04, 86400, 5), uri.options.get("loop", "1") == "1" or uri.flag("loop")
    if not path.is_dir():
        _check_there(path, uri)

    def opened() -> Source:
        from apps.sources.pictures import Slides

        return Slides(path, seconds=seconds, loop=loop)

    return opened


def _check_there(path: Path, uri: Uri) -> None:
    if not path.is_file():
        raise MediaError(
            f"{uri.rest}: no such file, and no kind of input; streamdiff live --list shows what can be an input"
        )
