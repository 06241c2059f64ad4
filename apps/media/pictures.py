"""Still pictures, and the moving ones that are kept like them (GIF, APNG, WebP)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from apps.media.atomic import AtomicFile, reason
from apps.media.joined import Joined
from streamdiff.errors import MediaError
from streamdiff.frame import Frame, Pixels
from streamdiff.picture import to_pixels

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Read by Pillow, which knows their orientation and colour types best; all else is FFmpeg's."""

MOVING = ("GIF", "PNG", "WEBP", "AVIF")

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Pictures that can be written."""

_QUALITY: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95, "method": 4},
}


class PictureReader:
    """A picture file as a sequence of Frames: one for a still picture, more for a GIF, APNG or animated WebP.

    Attributes:
        still: it holds one picture only.
        width, height: upright size in pixels.
        frames: how many there are.
        warnings: what the user should know, one line each.
    """

    rate: float | None = None
    time_base = Fraction(1, 1000)  # such files count in milliseconds or hundredths
    has_sound = False

    def __init__(self, path: Path, image: Image.Image) -> None:
        self.path = path
        self.joined = Joined()
        self._image = image
        self.frames: int | None = _pictures(image)
        self.still = self.frames == 1
        self.warnings: list[str] = []
        # Only the orientation is needed here; the pixels are not read before they are asked for.
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        self.width, self.height = image.size[::-1] if turned else image.size

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        """Read it.

        Raises:
            MediaError: the file is damaged.
        """
        pts = 0.0
        for index in range(self.frames or 0):
            try:
                self._image.seek(index)
                pixels, _ = to_pixels(self._image)
            except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
                raise MediaError(f"{self.path}: the picture is damaged or cut short ({reason(error)})") from error
            milliseconds = float(self._image.info.get("duration") or 100)
            yield Frame(pixels, pts=None if self.still else pts, index=index, tag=milliseconds / 1000)
            pts += milliseconds / 1000

    def close(self) -> None:
        """Close the file."""
        self._image.close()


def open_picture(path: Path) -> PictureReader | None:
    """Open a file that holds a picture, whatever its name says; None when it holds something else.

    Raises:
        MediaError: a picture too large to be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return PictureReader(path, Image.open(path, formats=_formats()))
    except Image.DecompressionBombError as error:
        raise MediaError(f"{path}: the picture is too large ({reason(error)})") from error
    except Image.UnidentifiedImageError:
        return None
    except (SyntaxError, ValueError, OSError) as error:  # metadata at the end of a file that has no end
        raise MediaError(f"{path}: the picture is damaged or cut short ({reason(error)})") from error


def read_picture(path: Path) -> Pixels:
    """Read a picture (the first one, where there are several): upright, RGB, on white.

    Raises:
        MediaError: it cannot be read, or is not a picture.
    """
    from apps.media.reader import open_reader

    with open_reader(path) as reader:
        return next(iter(reader)).pixels


def write_picture(path: Path, pixels: Pixels) -> None:
    """Write a picture in the format its name asks for: whole or not at all.

    Raises:
        MediaError: it cannot be written there.
    """
    kind = SUFFIXES[path.suffix.lower()]
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind, **_QUALITY[kind])
    with AtomicFile(path) as target:
        target.file.write(data.getvalue())
        target.commit()


def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _pictures(image: Image.Image) -> int:
    # The further pages of a TIFF or of a phone's MPO are not a film.
    return int(getattr(image, "n_frames", 1)) if image.format in MOVING else 1
