"""Contact sheets: labelled pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from streamdiff.frame import Pixels

MARGIN = 8


def contact_sheet(pictures: Sequence[tuple[str, Pixels]], columns: int) -> Pixels:
    """Lay pictures of one size out in rows, each with its label under it, on white."""
    height, width = pictures[0][1].shape[:2]
    size = max(12, round(width / 15))
    font = ImageFont.load_default(size)
    label = round(size * 1.5)
    columns = max(1, min(columns, len(pictures)))
    rows = -(-len(pictures) // columns)
    sheet = Image.new(
        "RGB",
        (MARGIN + columns * (width + MARGIN), MARGIN + rows * (height + label + MARGIN)),
        "white",
    )
    pen = ImageDraw.Draw(sheet)
    for place, (text, pixels) in enumerate(pictures):
        row, column = divmod(place, columns)
        x, y = MARGIN + column * (width + MARGIN), MARGIN + row * (height + label + MARGIN)
        sheet.paste(Image.fromarray(pixels), (x, y))
        pen.text((x + width / 2, y + height + label / 2), _fitting(text, font, width), "black", font, anchor="mm")
    return np.asarray(sheet)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while font.getlength(text) > width and len(text) > 2:
        text = text[:-2].rstrip() + "…"
    return text
