"""A file that stands under its name only once it is whole."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import BinaryIO, cast

from streamdiff.errors import MediaError


class AtomicFile:
    """Written beside its target under a hidden name; ``commit`` puts it in place, ``discard`` leaves no trace.

    Use as a context manager: what was not committed is discarded, and a file that stood there before is untouched.

    Attributes:
        path: the target.
        file: opened for binary writing and reading back.
    """

    def __init__(self, path: Path) -> None:
        """Open the temporary file.

        Raises:
            MediaError: the folder cannot be written.
        """
        self.path = path
        # The same folder, so that the rename at the end is one step on one file system.
        self._temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
        try:
            self.file = cast("BinaryIO", self._temporary.open("x+b"))
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
            self.file.flush()
            # Some file systems tell of a full disk only now.
            os.fsync(self.file.fileno())
            self.file.close()
            self._temporary.replace(self.path)
        except OSError as error:
            self.discard()
            raise MediaError(f"{self.path}: cannot be written ({reason(error)}); nothing was left behind") from error

    def discard(self) -> None:
        """Remove the temporary file, if it still stands."""
        try:
            self.file.close()
        except OSError:
            pass  # buffered bytes that did not fit the disk: the file goes anyway
        finally:
            self._temporary.unlink(missing_ok=True)


def reason(error: BaseException) -> str:
    """What went wrong, in a few words on one line."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split())[:200]
