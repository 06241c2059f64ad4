"""Opening a file by what it holds, not by what it is called."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from apps.media.joined import Joined
from streamdiff.errors import MediaError
from streamdiff.frame import Frame


class Reader(Protocol):
    """A file as a sequence of Frames, read once, from the beginning.

    Frames are upright RGB; ``pts`` counts seconds from the start of the file (None for a still picture), ``tag`` is
    how long the frame is shown, in seconds, where the file says so.

    Attributes:
        path: the file.
        still: it holds one picture and no time.
        width, height: upright size in pixels.
        frames: how many there are about; None where that is unknown.
        rate: frames per second, on average; None where unknown.
        time_base: unit in which the file counts time.
        has_sound: it has a sound track.
        joined: its times, where it was joined of several.
        warnings: what was found wrong while reading, one line each.
    """

    path: Path
    still: bool
    width: int
    height: int
    frames: int | None
    rate: float | None
    time_base: Fraction
    has_sound: bool
    joined: Joined
    warnings: list[str]

    def __enter__(self) -> Reader: ...

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[Frame]:
        """Decode.

        Raises:
            MediaError: nothing could be decoded.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def open_reader(path: Path | str) -> Reader:
    """Open a picture or video file.

    Raises:
        MediaError: missing, empty, damaged, or neither a picture nor a video; in one line.
    """
    # Here, for a program that only asks for --help must not wait for the codecs.
    from apps.media.pictures import open_picture
    from apps.media.video_reader import VideoReader

    path = Path(path)
    if path.is_dir():
        raise MediaError(f"{path}: is a folder; give a picture or video file")
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except FileNotFoundError:
        raise MediaError(f"{path}: there is no such file") from None
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    if not first:
        raise MediaError(f"{path}: the file is empty")
    return open_picture(path) or VideoReader(path)
