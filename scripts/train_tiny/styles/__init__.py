"""The styles: for each a target filter, its prompt, and the words people use for it.

A filter turns a photograph into the picture the model is to learn. All are local functions of the photograph, so that
a small network can learn them sharply; strokes come from the photograph's own detail rather than from chance, and
screens (dots, hatching, blocks) repeat with the latent grid, every 8 pixels, for the same reason.
"""

from .style import Style
from .table import STYLES

__all__ = ["STYLES", "Style"]
