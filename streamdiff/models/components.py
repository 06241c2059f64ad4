"""Components of a model, read lazily: configurations as JSON at once, modules only when they are asked for."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, cast

from torch import nn

from streamdiff.errors import ModelError
from streamdiff.models.fingerprint import safetensors_header
from streamdiff.models.quiet import quiet

PARTS = ("unet", "vae", "text_encoder")
CLASSES = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    "text_encoder": ("CLIPTextModel", "CLIPTextModelWithProjection"),
}
"""Classes that are supported, by part."""


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

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's folder."""
        return self.folder / "tokenizer"

    @abstractmethod
    def files(self) -> list[tuple[str, Path]]:
        """Every file that decides what is computed, with its role in the model."""

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
        self._shapes: dict[str, dict[str, tuple[int, ...]]] = {}
        self._files: list[tuple[str, Path]] = []
        for part in PARTS:
            weights, self._shapes[part] = checked_weights(folder / part)
            self._files += [(f"{part}/{path.name}", path) for path in weights]
        self._files += configuration_files(folder, self.tokenizer)

    def files(self) -> list[tuple[str, Path]]:
        """Weights, configurations and tokenizer."""
        return self._files

    def tensors(self, part: str) -> dict[str, tuple[int, ...]]:
        """From the headers of the weight files."""
        return self._shapes[part]

    def module(self, part: str) -> nn.Module:
        """Read through diffusers' and transformers' own loaders."""
        return load_module(self.folder / part)


def configuration_files(folder: Path, tokenizer: Path) -> list[tuple[str, Path]]:
    """The JSON configurations and the tokenizer's files, with their roles.

    Raises:
        ModelError: the tokenizer's folder is not there.
    """
    if not tokenizer.is_dir():
        raise ModelError(f"{folder} has no tokenizer folder; the model is incomplete, download or save it again")
    configs = [f"{part}/config.json" for part in PARTS] + ["scheduler/scheduler_config.json"]
    files = [(name, folder / name) for name in configs]
    return files + [(f"tokenizer/{path.name}", path) for path in tokenizer.iterdir() if path.is_file()]


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


_VARIANT = re.compile(r"\.(fp16|non_ema)[.-]")  # behind it the suffix, or the number of a shard


def _is_half(path: Path) -> bool:
    variant = _VARIANT.search(path.name)
    return variant is not None and variant[1] == "fp16"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one part: the plain one (or its shards), else the fp16 variant.

    Raises:
        ModelError: none is there.
    """
    found = sorted(folder.glob("*.safetensors"))
    plain = [path for path in found if not _VARIANT.search(path.name)]
    chosen = plain or [path for path in found if _is_half(path)]
    if not chosen:
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.ckpt"))
        why = (
            "only pickled weights, which may run code; save it with safe_serialization=True"
            if pickled
            else "no weights"
        )
        raise ModelError(f"{folder} has {why} (wanted: *.safetensors)")
    return chosen


def checked_weights(folder: Path) -> tuple[list[Path], dict[str, tuple[int, ...]]]:
    """The weight files of one part, all of their bytes there, with names and shapes of what is in them.

    Raises:
        ModelError: none is there, or one is damaged.
    """
    files = weight_files(folder)
    return files, {name: tuple(item["shape"]) for path in files for name, item in safetensors_header(path).items()}


def load_module(folder: Path) -> nn.Module:
    """One part from its folder, by the class its configuration names.

    Raises:
        ModelError: an unsupported class, or weights that do not fit.
    """
    import torch

    config = read_json(folder / "config.json")
    made = module_class(config, folder)
    variant = "fp16" if _is_half(weight_files(folder)[0]) else None
    dtype = {"dtype" if made.__module__.startswith("transformers") else "torch_dtype": torch.float32}
    try:
        with quiet():
            loaded: Any = made.from_pretrained(
                str(folder), use_safetensors=True, variant=variant, local_files_only=True, output_loading_info=True,
                **dtype,
            )  # fmt: skip
        module, told = loaded
        # Both packages would go on with random numbers in their place.
        missing = sorted(name for name in told["missing_keys"] if not name.endswith("position_ids"))
        if missing:
            raise ValueError(f"{len(missing)} weights are missing, such as {missing[0]}")
    except Exception as error:
        raise ModelError(f"the weights in {folder} cannot be loaded: {first_line(error)}") from None
    return module.float().eval().requires_grad_(False)


def class_name(config: dict[str, Any], part: str | None, where: object) -> str:
    """The class that a configuration names, which must be one of ``CLASSES`` for its part (any part: None).

    Raises:
        ModelError: another one.
    """
    architectures: Any = config.get("architectures")
    first: Any = cast("list[Any]", architectures)[0] if isinstance(architectures, list) and architectures else "?"
    name = str(config.get("_class_name") or first)
    known = [c for p, classes in CLASSES.items() if part in (None, p) for c in classes]
    if name not in known:
        given = "names no class" if name == "?" else f"is a {name[:60]}, which is not supported"
        raise ModelError(f"{where} {given}; known are {', '.join(known)} (Stable Diffusion 1.x and 2.x)")
    return name


def module_class(config: dict[str, Any], where: object) -> Any:
    """The class that a configuration names: a UNet, a VAE or CLIP's text model.

    Raises:
        ModelError: another one.
    """
    name = class_name(config, None, where)
    if name in CLASSES["text_encoder"]:
        import transformers

        return transformers.CLIPTextModel
    import diffusers

    return getattr(diffusers, name)


def kind_of(path: Path) -> str | None:
    """ "folder" or "file", None where neither is (a name too long to be one, for instance)."""
    try:
        return "folder" if path.is_dir() else "file" if path.is_file() else None
    except (OSError, ValueError):
        return None


def user_path(text: str | Path) -> Path:
    """A path as a user writes it, "~" included."""
    try:
        return Path(text).expanduser()
    except (RuntimeError, ValueError):
        return Path(text)


def shown(text: object) -> str:
    """What a user gave, on one line and short enough for a message."""
    text = repr(str(text))
    return text if len(text) <= 200 else text[:197] + "..."


def first_line(error: BaseException) -> str:
    """The first line of an error's text, short enough to show."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
