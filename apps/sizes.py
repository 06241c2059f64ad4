"""The size a stream works at, from what it is given."""

from __future__ import annotations

LEAST = 64
MOST = 4096
STEP = 8


def fit_size(
    source: tuple[int, int],
    area: int,
    width: int | None = None,
    height: int | None = None,
    *,
    step: int = STEP,
) -> tuple[int, int]:
    """Choose a size with the aspect of the source.

    Args:
        source: width and height whose aspect is kept as well as multiples of `step` allow.
        area: pixels there should be about, where neither side is given.
        width: taken as it is where given; a height that is not given then follows the aspect.
        height: likewise.
        step: what sides are multiples of, pixels.

    Returns:
        Width and height; sides not given are multiples of `step` between 64 and 4096.
    """
    aspect = source[0] / source[1]
    if width is not None and height is not None:
        return width, height
    if width is not None:
        return width, _side(width / aspect, step)
    if height is not None:
        return _side(height * aspect, step), height
    # A panorama is cut at its ends rather than computed at many times the area the model is good at.
    longest = max(area / LEAST**2, 1.0)
    aspect = min(max(aspect, 1 / longest), longest)
    return _side((area * aspect) ** 0.5, step), _side((area / aspect) ** 0.5, step)


def _side(pixels: float, step: int) -> int:
    return int(min(max(round(pixels / step) * step, LEAST), MOST))
