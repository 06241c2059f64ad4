"""From ``--output URI`` to a sink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from apps.addresses import host_and_port
from apps.media.writer import check_folder
from apps.sinks.sink import OpenSink, Picture, Sink
from apps.uri import Uri, parse
from streamdiff.errors import ConfigError, MediaError

ADDRESSES = frozenset({"rtsp", "rtmp", "rtmps", "srt", "udp", "whip+http", "whip+https"})
KNOWN = {
    "window": frozenset[str](),
    "virtual-camera": frozenset[str](),
    "null": frozenset[str](),
    "mjpeg": frozenset({"token"}),
    "ndi": frozenset[str](),
    "spout": frozenset[str](),
    "syphon": frozenset[str](),
    "whip+http": frozenset({"bearer"}),
    "whip+https": frozenset({"bearer"}),
    "": frozenset({"codec", "replace"}),
}
KINDS = (
    ("window", "a window; keys: b before/after, i figures, F11 full screen, ? the other keys"),
    ("virtual-camera, virtual-camera:DEVICE", "what Zoom, Meet, Discord and OBS see"),
    ("PATH.mp4 PATH.mov PATH.mkv", "a file that is whole however it ends; ?codec=h264|h265|av1|prores, ?replace=1"),
    ("rtmp:// udp:// rtsp://", "a stream to a server; srt:// where FFmpeg has it"),
    ("whip+https://…", "a stream to a WHIP server, such as streamdiff serve; ?bearer=TOKEN where it asks for one"),
    (
        "mjpeg:PORT, mjpeg:HOST:PORT",
        "pictures over HTTP for <img>, VLC, OpenCV; ?token= beyond localhost",
    ),
    ("ndi, ndi:NAME", "NDI, for OBS with its plugin, vMix, TouchDesigner; needs streamdiff[ndi]"),
    ("spout:NAME, syphon:NAME", "a texture for programs on this machine: Spout on Windows, Syphon on macOS"),
    ("null", "nothing; for measuring"),
)


def sink_from(text: str, open_window: Callable[[Picture], Sink]) -> OpenSink:
    """What opens a sink.

    Args:
        text: as it was given.
        open_window: opens the program's one window, which lives in its main thread.

    Raises:
        ConfigError, MediaError: it cannot be meant: an unknown kind, option or file type.
    """
    uri = _parsed(text)
    if uri.kind in ("window", "null") and uri.rest:
        raise ConfigError(f"{text}: {uri.kind} takes nothing behind it")
    if uri.kind == "window":
        return open_window
    if uri.kind == "null":
        from apps.sinks.null import Null

        return Null
    if uri.kind == "virtual-camera":

        def virtual(picture: Picture) -> Sink:
            from apps.sinks.virtual_camera import VirtualCamera

            return VirtualCamera(picture, uri.rest or None)

        return virtual
    if uri.kind in ("ndi", "spout", "syphon"):
        return _announced(uri)
    if uri.kind == "mjpeg":
        return _mjpeg(uri)
    if uri.kind in ADDRESSES:

        def address(picture: Picture) -> Sink:
            from apps.sinks.encoded import to_address

            return to_address(uri.rest, picture, bearer=uri.options.get("bearer"))

        return address
    return _file(uri)


def check_files(outputs: Sequence[str], source: str) -> None:
    """Refuse outputs that would replace what is read, or one another.

    Raises:
        ConfigError: in one line, which.
    """
    there: dict[Path, bool] = {}  # whether it is to be replaced
    for text in outputs:
        uri = _parsed(text)
        if uri.kind:
            continue
        path, replaces = Path(uri.rest).resolve(), uri.flag("replace")
        if path in there and (replaces or there[path]):
            raise ConfigError(f"{text}: is an output already; give each another name")
        there[path] = replaces or there.get(path, False)
        read = Path(source.partition("?")[0])
        if replaces and path.exists() and read.exists() and path.samefile(read):
            raise ConfigError(f"{text}: the output is the input; give it another name")


def _parsed(text: str) -> Uri:
    return parse(text, frozenset(k for k in KNOWN if k and k not in ADDRESSES), ADDRESSES, KNOWN)


def _announced(uri: Uri) -> OpenSink:
    """What other programs find by a name."""

    def announce(picture: Picture) -> Sink:
        from apps.sinks.ndi import Ndi
        from apps.sinks.shared_texture import Spout, Syphon

        made = {"ndi": Ndi, "spout": Spout, "syphon": Syphon}[uri.kind]
        return made(picture, uri.rest or "streamdiff")

    return announce


def _mjpeg(uri: Uri) -> OpenSink:
    address = host_and_port(uri.rest)
    if address is None:
        raise ConfigError(f"{uri.text}: write mjpeg:PORT or mjpeg:HOST:PORT, such as mjpeg:8090")

    def serve(picture: Picture) -> Sink:
        from apps.sinks.mjpeg import Mjpeg

        return Mjpeg(picture, *address, uri.options.get("token"))

    return serve


def _file(uri: Uri) -> OpenSink:
    from apps.sinks.encoded import CODECS, FILES

    path, codec, replace = Path(uri.rest), uri.options.get("codec", "h264"), uri.flag("replace")
    if path.suffix.lower() not in FILES:
        raise MediaError(
            f"{uri.rest}: neither a kind of output nor a name that ends in {' '.join(FILES)}; "
            "streamdiff live --list shows what can be an output"
        )
    if codec not in CODECS:
        raise ConfigError(f"{uri.text}: codec={codec} is not known; known are {', '.join(CODECS)}")
    check_folder(path)

    begun = False

    def opened(picture: Picture) -> Sink:
        from apps.sinks.encoded import to_file

        nonlocal begun
        # What this run has written is not there to be replaced: opened again, it goes on in another file.
        sink = to_file(path, picture, codec=codec, replace=replace and not begun)
        begun = True
        return sink

    return opened
