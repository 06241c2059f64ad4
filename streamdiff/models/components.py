"""Components of a model, read lazily: configurations as JSON at once, modules only when they are asked for."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, cast

from torch import nn

from streamdiff.errors import ModelError
from streamdiff.models.fingerprint import safetensors_header
from streamdiff.models.quiet import quiet

PARTS = ("unet", "vae", "text_encoder")


class Components(ABC):
    """Where a model's configurations and weights come from.

    Attributes:
        folder: a diffusers folder with at least the JSON configurations and the tokenizer.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of "unet", "vae", "text_encoder" or "scheduler".

        Raises:
            ModelError: missing or unreadable.
        """
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        return read_json(self.folder / part / name)

    @abstractmethod
    def files(self) -> list[Path]:
        """Every file that decides what is computed."""

    @abstractmethod
    def tensors(self, part: str) -> dict[str, tuple[int, ...]]:
        """Names and shapes of a part's weights, as its module names them."""

    @abstractmethod
    def module(self, part: str) -> nn.Module:
        """A new module with its weights, fp32, in eval mode, on the CPU.

        Raises:
            ModelError: the weights do not fit the configuration or cannot be read.
        """


class FolderComponents(Components):
    """A diffusers folder: ``unet/``, ``vae/``, ``text_encoder/``, ``tokenizer/``, ``scheduler/``."""

    def __init__(self, folder: Path) -> None:
        """Look at a folder.

        Raises:
            ModelError: it lacks a part, or its weights are pickles or cut short.
        """
        super().__init__(folder)
        missing = [part for part in (*PARTS, "tokenizer", "scheduler") if not (folder / part).is_dir()]
        if missing:
            raise ModelError(
                f"{folder} is not a diffusers model folder: {', '.join(missing)} missing; give the folder that holds "
                "model_index.json"
            )
        self._weights = {part: weight_files(folder / part) for part in PARTS}
        self._shapes: dict[str, dict[str, tuple[int, ...]]] = {}
        for part in PARTS:
            self._shapes[part] = {
                name: tuple(tensor["shape"])
                for path in self._weights[part]
                for name, tensor in safetensors_header(path).items()
            }

    def files(self) -> list[Path]:
        """Weights, configurations and tokenizer."""
        configurations = [path for part in PARTS for path in [self.folder / part / "config.json"]]
        tokenizer = [path for path in (self.folder / "tokenizer").iterdir() if path.is_file()]
        scheduler = [self.folder / "scheduler" / "scheduler_config.json"]
        return [*(f for part in PARTS for f in self._weights[part]), *configurations, *tokenizer, *scheduler]

    def tensors(self, part: str) -> dict[str, tuple[int, ...]]:
        """From the headers of the weight files."""
        return self._shapes[part]

    def module(self, part: str) -> nn.Module:
        """Read through diffusers' and transformers' own loaders."""
        return load_module(self.folder / part)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ModelError: missing or not one.
    """
    try:
        loaded: Any = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; the model is incomplete, download or save it again") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    if not isinstance(loaded, dict):
        raise ModelError(f"{path} is not a configuration; download or save the model again")
    return cast("dict[str, Any]", loaded)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one part: the plain one (or its shards), else the fp16 variant.

    Raises:
        ModelError: none is there.
    """
    found = sorted(folder.glob("*.safetensors"))
    plain = [path for path in found if ".fp16." not in path.name and ".non_ema." not in path.name]
    chosen = plain or [path for path in found if ".fp16." in path.name]
    if not chosen:
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.ckpt"))
        why = (
            "only pickled weights, which may run code; save it with safe_serialization=True"
            if pickled
            else "no weights"
        )
        raise ModelError(f"{folder} has {why} (wanted: *.safetensors)")
    return chosen


def load_module(folder: Path) -> nn.Module:
    """One part from its folder, by the class its configuration names.

    Raises:
        ModelError: an unsupported class, or weights that do not fit.
    """
    import torch

    config = read_json(folder / "config.json")
    made = module_class(config, folder)
    variant = "fp16" if ".fp16." in weight_files(folder)[0].name else None
    dtype = {"dtype" if made.__module__.startswith("transformers") else "torch_dtype": torch.float32}
    try:
        with quiet():
            module: Any = made.from_pretrained(
                str(folder), use_safetensors=True, variant=variant, local_files_only=True, **dtype
            )
    except Exception as error:
        raise ModelError(f"the weights in {folder} cannot be loaded: {first_line(error)}") from None
    return module.float().eval().requires_grad_(False)


def module_class(config: dict[str, Any], where: Path) -> Any:
    """The class that a configuration names: a UNet, a VAE or CLIP's text model.

    Raises:
        ModelError: another one.
    """
    name = str(config.get("_class_name") or (config.get("architectures") or ["?"])[0])
    if name in ("UNet2DConditionModel", "AutoencoderKL", "AutoencoderTiny"):
        import diffusers

        return getattr(diffusers, name)
    if name in ("CLIPTextModel", "CLIPTextModelWithProjection"):
        import transformers

        return transformers.CLIPTextModel
    raise ModelError(f"{where} holds a {name}, which is not supported; Stable Diffusion 1.x and 2.x models are")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, short enough to show."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
