"""A file that stands under its name only once it is whole."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from streamdiff.errors import MediaError


class Target:
    """What FFmpeg and Pillow write to. The first failure is kept, and what follows it is thrown away.

    FFmpeg calls from C and goes on calling after a failure (to seek, to write its index): exceptions that nobody can
    catch there would be printed. Whoever writes asks ``check`` instead.

    Attributes:
        name: the file; FFmpeg opens it by this name to move an MP4's index to the front.
    """

    def __init__(self, path: Path) -> None:
        # Without a buffer of Python's own: a full disk is met by the write it is met in, and not by a later seek.
        self._file = path.open("x+b", buffering=0)
        self._error: OSError | None = None
        self.name = str(path)

    def write(self, data: bytes) -> int:
        """Write all of it, or nothing any more after a failure."""
        rest = memoryview(data)
        while rest and self._error is None:
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                self._error = error
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As files have it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As files have it."""
        return self._file.tell()

    def check(self) -> None:
        """Raise what went wrong.

        Raises:
            OSError: a write failed.
        """
        if self._error is not None:
            raise self._error

    def sync(self) -> None:
        """Wait until the disk has it: some file systems tell of a full disk only then."""
        self.check()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class AtomicFile:
    """Written beside its target under a hidden name; ``commit`` puts it in place, ``discard`` leaves no trace.

    Use as a context manager: what was not committed is discarded, and a file that stood there before is untouched.

    Attributes:
        path: the file to be.
        file: what to write to.
    """

    def __init__(self, path: Path) -> None:
        """Open the temporary file.

        Raises:
            MediaError: the folder cannot be written.
        """
        self.path = path
        # The same folder, so that the rename at the end is one step on one file system.
        # Where the name is a link, that is the folder of what it points to; the link stays. The name is cut, for it
        # may be as long as names can be.
        try:
            self._final = path.resolve()
            self._temporary = self._final.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.part")
            self.file = Target(self._temporary)
        except OSError as error:
            raise MediaError(f"{path}: cannot be written ({reason(error)})") from error

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def commit(self) -> None:
        """Put the file in place, over what stood there.

        Raises:
            MediaError: the disk is full, or the target cannot be replaced; nothing is left behind.
        """
        try:
            self.file.sync()
            self.file.close()
            self._temporary.replace(self._final)
        except OSError as error:
            self.discard()
            raise MediaError(f"{self.path}: cannot be written ({reason(error)}); nothing was left behind") from error

    def discard(self) -> None:
        """Remove the temporary file, if it still stands."""
        try:
            self.file.close()
        except OSError:
            pass  # the file goes anyway
        finally:
            self._temporary.unlink(missing_ok=True)


def reason(error: BaseException) -> str:
    """What went wrong, in a few words on one line."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split())[:200]
