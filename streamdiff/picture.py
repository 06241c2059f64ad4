"""Pictures as people hold them (PIL, numpy, torch) to and from the stream's own uint8 RGB arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from streamdiff.errors import PictureError
from streamdiff.frame import Pixels


def to_pixels(picture: Any) -> tuple[Pixels, Callable[[Pixels], Any]]:
    """Read a picture.

    Args:
        picture: a PIL image of any mode; numpy [H, W, 3], [H, W, 4] or [H, W], uint8, or floats in 0..1; torch
            [3, H, W] (or [1, 3, H, W]) floats in 0..1, or uint8. The range of floats is not guessed: 0..1.

    Returns:
        uint8 [H, W, 3] RGB, and the function that turns an output back into the same kind.

    Raises:
        PictureError: not a picture, with the shape and type that were given.
    """
    if isinstance(picture, np.ndarray):
        array: Any = picture
        floating = np.issubdtype(array.dtype, np.floating)
        kind = array.dtype
        pixels = _from_array(array)
        return pixels, (lambda out: (out / np.float32(255)).astype(kind)) if floating else (lambda out: out)
    module = type(picture).__module__
    if module.startswith("torch"):
        return _from_torch(picture)
    if module.startswith("PIL"):
        return _from_pil(picture)
    raise PictureError(f"expected a PIL image, a numpy array or a torch tensor, given {type(picture).__name__}")


def cover(pixels: Pixels, width: int, height: int) -> Pixels:
    """Scale to cover width x height, aspect kept, and cut to the centre; a fitting picture is returned as it is."""
    h, w = pixels.shape[:2]
    if (w, h) == (width, height):
        return pixels
    # The largest centred part of the picture that has the wanted aspect, at least one pixel each way.
    part_w = max(1, min(w, round(h * width / height)))
    part_h = max(1, min(h, round(w * height / width)))
    x, y = (w - part_w) // 2, (h - part_h) // 2
    part = pixels[y : y + part_h, x : x + part_w]
    shrinks = part_w >= width and part_h >= height
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (width, height), interpolation=method), dtype=np.uint8)


def check_pixels(pixels: Any) -> None:
    """Make sure that an array is what a Frame carries.

    Raises:
        PictureError: not uint8 [height, width, 3], or empty.
    """
    array = isinstance(pixels, np.ndarray)
    if not array or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        given = f"{pixels.dtype} {list(pixels.shape)}" if array else type(pixels).__name__
        raise PictureError(f"a frame's pixels are uint8 [height, width, 3], given {given}")


def on_white(rgba: Pixels) -> Pixels:
    """Lay a picture with an alpha channel, uint8 [H, W, 4], on white, as a page would show it."""
    alpha = rgba[:, :, 3:].astype(np.uint16)
    if int(alpha.min()) == 255:
        return np.ascontiguousarray(rgba[:, :, :3])
    mixed = rgba[:, :, :3] * alpha + (255 - alpha) * np.uint16(255)
    return ((mixed + 127) // 255).astype(np.uint8)


def _from_array(array: Any) -> Pixels:
    if np.issubdtype(array.dtype, np.floating):
        if array.size and not np.isfinite(array).all():
            raise PictureError("the picture holds NaN or infinite values; clean it first")
        array = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise PictureError(f"expected uint8, or floats in 0..1, given an array of {array.dtype}")
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if array.ndim != 3 or array.shape[2] not in (3, 4) or 0 in array.shape:
        raise PictureError(f"expected an array [height, width, 3], given the shape {list(array.shape)}")
    return on_white(array) if array.shape[2] == 4 else np.ascontiguousarray(array)


def _from_torch(tensor: Any) -> tuple[Pixels, Callable[[Pixels], Any]]:
    import torch

    batched = tensor.ndim == 4
    if tensor.ndim not in (3, 4) or tensor.shape[-3] not in (1, 3) or (batched and len(tensor) != 1):
        raise PictureError(f"expected a tensor [3, height, width], given the shape {list(tensor.shape)}")
    chw = tensor[0] if batched else tensor
    host: Any = chw.detach().to("cpu", torch.float32 if chw.is_floating_point() else chw.dtype).numpy()

    def back(out: Pixels) -> Any:
        result = torch.from_numpy(out.copy()).permute(2, 0, 1).contiguous().to(tensor.device)
        if tensor.is_floating_point():
            result = result.to(torch.float32).div(255).to(tensor.dtype)
        return result[None] if batched else result

    return _from_array(np.moveaxis(host, 0, 2)), back


def _from_pil(image: Any) -> tuple[Pixels, Callable[[Pixels], Any]]:
    from PIL import Image, ImageOps

    try:
        return _converted(ImageOps.exif_transpose(image) or image), Image.fromarray
    except PictureError:
        raise
    except (OSError, ValueError, SyntaxError) as error:  # only now are the bytes of an opened file looked at
        raise PictureError(f"the picture cannot be read: {error}") from None


def _converted(upright: Any) -> Pixels:
    mode = upright.mode
    if mode.startswith("I"):
        # 16 bits, in a mode of 16 or of 32: all 65,536 levels to 256.
        wide: Any = np.asarray(upright)
        return _from_array((wide.astype(np.float32) / 257).clip(0, 255).round().astype(np.uint8))
    if "A" in mode or "a" in mode or "transparency" in upright.info:
        return on_white(np.asarray(upright.convert("RGBA")))
    return _from_array(np.asarray(upright.convert("RGB")))
