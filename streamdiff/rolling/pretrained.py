"""One part of a rolling model from its folder, by the class it must be of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from streamdiff.errors import ModelError
from streamdiff.models.components import checked_weights, first_line
from streamdiff.models.quiet import quiet


def pretrained(folder: Path, class_name: str, dtype: torch.dtype) -> Any:
    """A part with its weights, in eval mode, on the CPU.

    Args:
        folder: holds its ``config.json`` and weights.
        class_name: of diffusers, or of transformers.
        dtype: of its weights.

    Raises:
        ModelError: the weights are missing, cut short, or do not fit.
    """
    checked_weights(folder)
    try:
        with quiet():
            import diffusers
            import transformers

            there = hasattr(diffusers, class_name)
            names = {"torch_dtype" if there else "dtype": dtype}
            module, told = getattr(diffusers if there else transformers, class_name).from_pretrained(
                str(folder), use_safetensors=True, local_files_only=True, output_loading_info=True, **names
            )
        if told["missing_keys"]:
            raise ValueError(f"{len(told['missing_keys'])} weights are missing, such as {min(told['missing_keys'])}")
    except Exception as error:
        raise ModelError(f"the weights in {folder} cannot be loaded: {first_line(error)}") from None
    return module.eval().requires_grad_(False)
