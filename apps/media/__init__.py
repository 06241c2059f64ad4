"""Media files in and out: any picture or video becomes a sequence of Frames, and Frames become a file again."""

from apps.media.pictures import read_picture, write_picture
from apps.media.reader import Reader, open_reader
from apps.media.writer import Writer, check_output, open_writer

__all__ = [
    "Reader",
    "Writer",
    "check_output",
    "open_reader",
    "open_writer",
    "read_picture",
    "write_picture",
]
