"""Which finished blocks a pass of the transformer sees (ALGORITHMS 6, keys and values). Pure functions.

Blocks are numbered from 0 in the order in which they entered and never renumbered. A pass sees what these functions
give, in that order, and then its own blocks; positions are counted from 0 over all of them, so they stay below
``Span.frames`` however long the stream gets.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamdiff.errors import ConfigError


@dataclass(frozen=True)
class Span:
    """How far attention reaches.

    Attributes:
        block: latent frames in a block.
        frames: most latent frames that one pass may have as keys, its own included.
    """

    block: int = 3
    frames: int = 21

    def __post_init__(self) -> None:
        if self.block < 1 or self.frames % self.block or self.blocks < 2:
            raise ConfigError(f"{self.frames} frames of attention do not make two or more blocks of {self.block}")

    @property
    def blocks(self) -> int:
        """``frames`` in blocks."""
        return self.frames // self.block


def seen_by_window(span: Span, anchor: int | None, oldest: int, count: int) -> list[int]:
    """What a denoising pass sees besides its window: the sink, then the newest finished blocks.

    Args:
        span: how far attention reaches.
        anchor: the block that is the sink; None while no block is finished.
        oldest: first block of the window; all before it are finished.
        count: blocks in the window.

    Returns:
        [anchor, ..., oldest - 1]: the anchor directly before the recent blocks, whatever lies between them in time.
    """
    if anchor is None:
        return []
    room = span.blocks - 1 - count
    return [anchor, *range(max(anchor + 1, oldest - room), oldest)]


def seen_by_clean_pass(span: Span, first: int, block: int) -> list[int]:
    """What the clean pass of a block sees besides itself: the blocks directly before it, as many as fit.

    The anchor is among them only as long as it is one of these.

    Args:
        span: how far attention reaches.
        first: first block of the history.
        block: the block that has just been finished.
    """
    return list(range(max(first, block - (span.blocks - 1)), block))
