"""Weights of Rolling Forcing, Self-Forcing and Causal-Forcing as released, for diffusers' WanTransformer3DModel.

The files hold ``generator_ema`` (or ``generator``), a state dict under Wan's original names behind ``model.`` and
whatever FSDP and activation checkpointing have put between. The released weights have terms of their own and are no
part of this project: the user points to a file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from streamdiff.errors import ModelError
from streamdiff.models.components import first_line
from streamdiff.models.fingerprint import safetensors_header
from streamdiff.models.quiet import quiet

PARTS = ("generator_ema", "generator")
"""Where a training checkpoint keeps the model, the first that is there: the average of its weights before its last."""
WRAPPERS = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod.")
"""What training leaves in names."""
KNOWN = ("patch_embedding.weight", "blocks.0.self_attn.q.weight", "text_embedding.0.weight", "head.modulation")
"""Names that tell a Wan transformer in the original layout."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a released checkpoint: tensors under Wan's original names.

    Args:
        path: a ``.pt`` (or ``.pth``, ``.ckpt``, ``.bin``), read as weights only, so that nothing in it is run; or a
            ``.safetensors`` file.

    Raises:
        ModelError: it cannot be read, or is the checkpoint of another model.
    """
    loaded = load_tensors(path)
    part = next((loaded[name] for name in PARTS if name in loaded), loaded)
    given = cast("Mapping[Any, Any]", part if isinstance(part, Mapping) else {})
    tensors = {_plain(str(name)): value for name, value in given.items() if isinstance(value, Tensor)}
    missing = next((name for name in KNOWN if name not in tensors), None)
    if missing is not None:
        raise ModelError(
            f"{path} is a checkpoint of another model: it has no {missing}; "
            "give one of Rolling Forcing, Self-Forcing or Causal-Forcing"
        )
    return tensors


def fill_transformer(wan: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Make a checkpoint's tensors the parameters of a WanTransformer3DModel, in the file's precision.

    Args:
        wan: the model to fill; its own parameters may be on the meta device.
        tensors: as ``read_checkpoint`` gives them; emptied.
        path: for the message.

    Raises:
        ModelError: it is of another geometry.
    """
    with quiet():
        from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    converted = cast("dict[str, Tensor]", convert_wan_transformer_to_diffusers(tensors))
    wanted = wan.state_dict()
    wrong = next((n for n in wanted if n in converted and converted[n].shape != wanted[n].shape), None)
    if wrong is not None:
        raise ModelError(
            f"{path} is of another geometry than the model's folder: {wrong} is {list(converted[wrong].shape)}, "
            f"wanted {list(wanted[wrong].shape)}"
        )
    odd = sorted(wanted.keys() ^ converted.keys())
    if odd:
        has = "has" if odd[0] in converted else "lacks"
        raise ModelError(
            f"{path} is of another geometry than the model's folder: it {has} {odd[0]}"
            + (f" and differs in {len(odd) - 1} more" if len(odd) > 1 else "")
        )
    wan.load_state_dict(converted, assign=True)


def load_tensors(path: Path) -> Mapping[str, Any]:
    """What a file of weights holds by name: a ``.safetensors`` file, or a pickle read as weights only.

    Raises:
        ModelError: it is not there, or cannot be read so.
    """
    if not path.is_file():
        raise ModelError(f"the file {path} is not there; check the path")
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            safetensors_header(path)
            return load_file(str(path))
        with quiet():
            # Mapped where the format allows: a training checkpoint holds more than is wanted of it.
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{path} cannot be read as weights: {first_line(error)}") from None
    return cast("Mapping[str, Any]", loaded) if isinstance(loaded, Mapping) else {}


def _plain(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name.removeprefix("model.")
