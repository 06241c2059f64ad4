"""How far two engines are apart: random inputs for any network, and the difference of two outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from engines.base import Network

Feed = Mapping[str, "np.ndarray[Any, Any]"]

SMALL = 32
"""Whole numbers given as inputs are below this: timesteps and tokens that every table has."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one output is from the reference.

    Attributes:
        output: its name.
        largest: largest absolute difference of an element; of pictures in levels of 255.
        relative: L2 norm of the difference by that of the reference; 0 where both are zero.
    """

    output: str
    largest: float
    relative: float


def difference(output: str, want: np.ndarray[Any, Any], got: np.ndarray[Any, Any]) -> Difference:
    """The difference of two arrays of equal shape; NaN in either gives NaN."""
    # Bytes would wrap round, and halves overflow in the sum.
    a, b = want.astype(np.float64), got.astype(np.float64)
    norm, off = float(np.linalg.norm(a)), float(np.linalg.norm(b - a))
    relative = off / norm if norm else (0.0 if off == 0 else float("inf"))
    return Difference(output, float(np.abs(b - a).max(initial=0.0)), relative)


def feed(network: Network, batch: int, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Random inputs by name: normal numbers, bytes of a noise picture, small whole numbers."""
    generator = torch.Generator().manual_seed(seed)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for given in network.inputs:
        shape = (batch, *given.shape)
        if given.dtype.is_floating_point:
            tensor = torch.randn(shape, generator=generator).to(given.dtype)
        else:
            most = 256 if given.dtype == torch.uint8 else SMALL
            tensor = torch.randint(0, most, shape, generator=generator, dtype=given.dtype)
        arrays[given.name] = tensor.numpy()
    return arrays
