"""Colours and orientation: what a decoder gives to upright RGB, and RGB to what an encoder takes."""

from __future__ import annotations

from typing import cast

import av
import numpy as np

from streamdiff.frame import Pixels
from streamdiff.picture import on_white

# Numbers, not PyAV's enums: their members changed between its versions. libswscale's names of the matrices:
BT709 = 1
BT601 = 5
BT2020 = 9

LIMITED = 1
FULL = 2

HD_HEIGHT = 720
"""Videos that do not name their matrix are BT.709 from this height on, BT.601 below: what players assume too."""

# AVColorSpace, as frames carry it, to libswscale's matrices.
_MATRIX = {1: BT709, 4: 4, 5: BT601, 6: BT601, 7: 7, 9: BT2020, 10: BT2020}


def upright_rgb(frame: av.VideoFrame, aspect: float = 1.0) -> Pixels:
    """Turn a decoded frame of any pixel format into the picture a viewer would see.

    Args:
        frame: as the decoder gave it.
        aspect: width of a pixel over its height; pictures of other than square pixels are widened to square ones.

    Returns:
        uint8 [height, width, 3] RGB, rotated as the file's display matrix says, on white where it is transparent.
    """
    alpha = any(component.is_alpha for component in frame.format.components) or frame.format.name == "pal8"
    rgb = frame.reformat(
        width=max(1, round(frame.width * aspect)),
        height=frame.height,
        format="rgba" if alpha else "rgb24",
        src_colorspace=_MATRIX.get(int(frame.colorspace), BT709 if frame.height >= HD_HEIGHT else BT601),
        src_color_range=_range(frame),
        dst_color_range=FULL,
        # The default is fast and off by up to three levels; it also shifts chroma at sharp edges.
        interpolation=_ACCURATE,
    )
    pixels = cast("Pixels", rgb.to_ndarray())
    return orient(on_white(pixels) if alpha else pixels, display_matrix(frame))


def video_frame(pixels: Pixels) -> av.VideoFrame:
    """Turn a picture of even size into a yuv420p frame, limited range, in the matrix of ``encoder_colours``."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    matrix = BT709 if frame.height >= HD_HEIGHT else BT601
    converted = frame.reformat(
        format="yuv420p",
        src_color_range=FULL,
        dst_colorspace=matrix,
        dst_color_range=LIMITED,
        interpolation=_ACCURATE,
    )
    tags = encoder_colours(frame.height)
    converted.colorspace = tags["colorspace"]
    converted.color_range = tags["color_range"]
    return converted


def encoder_colours(height: int) -> dict[str, int]:
    """Tags for the encoder, so that every player uses the matrix the frames were made with."""
    # AVColorSpace / primaries / transfer: 1 is BT.709 in all three, 6 is SMPTE 170M, the 525-line BT.601.
    standard = 1 if height >= HD_HEIGHT else 6
    return {"colorspace": standard, "color_primaries": standard, "color_trc": standard, "color_range": LIMITED}


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """(a, b, c, d) of the frame's display matrix: x' = a x + c y, y' = b x + d y; None where it has none."""
    try:
        data = frame.side_data["DISPLAYMATRIX"]
    except KeyError:
        return None
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(data), np.int32)[:5])
    return a, b, c, d


def orient(pixels: Pixels, matrix: tuple[int, int, int, int] | None) -> Pixels:
    """Rotate and mirror as a display matrix says, to the nearest quarter turn."""
    if matrix is None:
        return pixels
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels = pixels.transpose(1, 0, 2)
        a, d = c, b
    pixels = pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(pixels)


def _range(frame: av.VideoFrame) -> int:
    if int(frame.color_range) in (LIMITED, FULL):
        return int(frame.color_range)
    # Without a tag: RGB, grey and the JPEG formats use every level, YUV leaves head and foot room.
    yuv = frame.format.name.startswith(("yuv", "nv", "p0", "uyvy", "yuyv")) and not frame.format.name.startswith("yuvj")
    return LIMITED if yuv else FULL


# SWS_BICUBIC | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP | SWS_ACCURATE_RND
_ACCURATE = 0x4 | 0x2000 | 0x4000 | 0x40000
