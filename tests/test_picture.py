"""Pictures as people hold them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streamdiff import PictureError
from streamdiff.picture import cover, to_pixels

RGB = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.mark.parametrize(
    "given_picture",
    [
        RGB,
        RGB.astype(np.float32) / 255,
        RGB.astype(np.float64) / 255,
        Image.fromarray(RGB),
        torch.from_numpy(RGB).permute(2, 0, 1),
        torch.from_numpy(RGB).permute(2, 0, 1).float() / 255,
        (torch.from_numpy(RGB).permute(2, 0, 1).float() / 255)[None],
    ],
    ids=["uint8", "float32", "float64", "pil", "torch uint8", "torch float", "torch batch"],
)
def test_every_kind_is_read_and_given_back(given_picture) -> None:  # type: ignore[no-untyped-def]
    pixels, back = to_pixels(given_picture)
    assert np.array_equal(pixels, RGB)
    again = back(pixels)
    assert type(again) is type(given_picture)
    assert np.array_equal(to_pixels(again)[0], RGB)
    if not isinstance(given_picture, Image.Image):
        assert again.dtype == given_picture.dtype and again.shape == given_picture.shape


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "I", "F"])
def test_pil_modes(mode: str) -> None:
    grey = Image.fromarray(np.full((5, 7), 128, np.uint8))
    if mode == "I;16":
        image = Image.fromarray(np.full((5, 7), 128 * 257, np.uint16))
    elif mode == "I":
        image = Image.fromarray(np.full((5, 7), 128 * 257, np.int32))
    else:
        image = grey.convert(mode)
    pixels, _ = to_pixels(image)
    assert pixels.shape == (5, 7, 3)
    if mode != "1":
        assert int(np.abs(pixels.astype(int) - 128).max()) <= 1


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2, :, 3] = 255
    rgba[2, :, 3] = 128
    for given_picture in (rgba, Image.fromarray(rgba)):
        pixels, _ = to_pixels(given_picture)
        assert pixels[:2].max() == 0 and pixels[3].min() == 255 and (pixels[2] == 127).all()


def test_a_damaged_file_that_was_opened_is_refused_in_one_line() -> None:
    """PIL reads a file's picture only when it is used."""
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(whole, "JPEG")
    with pytest.raises(PictureError, match="cannot be read"):
        to_pixels(Image.open(io.BytesIO(whole.getvalue()[:900])))


def test_a_turned_photograph_stands_upright() -> None:
    image = Image.fromarray(RGB)
    exif = image.getexif()
    exif[0x0112] = 6
    image.info["exif"] = exif.tobytes()
    assert to_pixels(image)[0].shape == (6, 4, 3)


@pytest.mark.parametrize(
    "bad",
    [
        None, "a.png", 3, np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 5), np.uint8), np.zeros(4, np.uint8),
        np.zeros((4, 4, 3), np.int64), np.full((4, 4, 3), np.nan), torch.zeros(4, 4), torch.zeros(2, 3, 4, 4),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused_in_one_line(bad) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PictureError) as caught:
        to_pixels(bad)
    assert "\n" not in str(caught.value)


def test_floats_are_not_guessed_to_be_255() -> None:
    """The original normalised bright pictures twice: a range that is guessed from the values is guessed wrongly."""
    assert to_pixels(np.full((2, 2, 3), 1.0))[0].min() == 255
    assert to_pixels(np.full((2, 2, 3), 1 / 255))[0].max() == 1


@given(w=st.integers(1, 300), h=st.integers(1, 300), width=st.sampled_from([64, 200]), height=st.sampled_from([64, 96]))
def test_cover_fills_any_size_from_any_size(w: int, h: int, width: int, height: int) -> None:
    pixels = np.full((h, w, 3), (10, 200, 30), np.uint8)
    out = cover(pixels, width, height)
    assert out.shape == (height, width, 3)
    assert (out == (10, 200, 30)).all()


def test_cover_keeps_the_centre_and_the_aspect() -> None:
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, 100:200] = 255
    assert (cover(pixels, 64, 64) == 255).all()
    same = np.zeros((64, 64, 3), np.uint8)
    assert cover(same, 64, 64) is same
