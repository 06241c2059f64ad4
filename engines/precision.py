"""Lower precision: what there is of eight bits; of sixteen, weights converted once, and float32 at the edges."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

Eight = Literal["int8", "fp8"]
"""Precisions of eight bits, for which a network is calibrated once."""

EIGHT_BITS: tuple[Eight, ...] = get_args(Eight)


def lower(module: nn.Module, dtype: torch.dtype) -> None:
    """Make a module compute in a lower precision and speak float32.

    Its floating inputs are converted on the way in, a floating output on the way out; what the module itself computes
    in float32 stays so.

    Args:
        module: it is changed.
        dtype: float16 or bfloat16.
    """

    def convert(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in given)

    def to_float(_: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
        return output.float() if output.is_floating_point() else output

    module.to(dtype)
    # Modules may make float32 tensors of their own, an encoder from bytes for instance: weights take them converted.
    for part in module.modules():
        if part is module or next(part.parameters(recurse=False), None) is not None:
            part.register_forward_pre_hook(convert)
    module.register_forward_hook(to_float)
