"""LoRA files: checked against the model's weights when it is loaded, fused when a network is built."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from streamdiff.errors import ModelError
from streamdiff.models.components import Components, first_line, kind_of, shown, user_path
from streamdiff.models.fingerprint import safetensors_header
from streamdiff.models.quiet import quiet

log = logging.getLogger("streamdiff.models")


UP = (".lora_B.weight", ".lora.up.weight", "_lora.up.weight", ".lora_up.weight")
DOWN = (".lora_A.weight", ".lora.down.weight", "_lora.down.weight", ".lora_down.weight")


@dataclass(frozen=True)
class LoraSpec:
    """A LoRA file and how strongly it is fused.

    Raises:
        ModelError: the scale is no number from -10 to 10.
    """

    path: Path
    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", user_path(str(self.path)))
        try:
            scale = float(self.scale)
        except (TypeError, ValueError):
            scale = math.nan
        if not -10 <= scale <= 10:
            raise ModelError(f"the LoRA {shown(self.path)}: its scale must lie between -10 and 10")
        object.__setattr__(self, "scale", scale)

    @classmethod
    def parse(cls, text: str | Path | LoraSpec) -> LoraSpec:
        """Read "FILE" or "FILE:SCALE"; a path is a file alone.

        Raises:
            ModelError: the scale is no finite number.
        """
        if isinstance(text, LoraSpec):
            return text
        if isinstance(text, Path):
            return cls(text)
        path, separator, scale = text.rpartition(":")
        # "C:\loras\x.safetensors" has a colon and no scale.
        if not separator or "/" in scale or "\\" in scale or scale.endswith(".safetensors"):
            return cls(Path(text))
        try:
            value = float(scale)
        except ValueError:
            raise ModelError(
                f"the LoRA {shown(text)} has a scale that is not a number; write FILE:SCALE, such as x.safetensors:0.8"
            ) from None
        return cls(Path(path), value)


def check(spec: LoraSpec, components: Components) -> None:
    """Make sure that a LoRA belongs to a model.

    Raises:
        ModelError: missing, unreadable, or it matches no weight, or only weights of other sizes.
    """
    if kind_of(spec.path) != "file":
        raise ModelError(f"the LoRA {shown(spec.path)} is not there; check the path")
    safetensors_header(spec.path)
    targets = {
        f"{part}.{name.removesuffix('.weight')}": shape
        for part in ("unet", "text_encoder")
        for name, shape in components.tensors(part).items()
        if name.endswith(".weight")
    }
    found = matched = misfit = 0
    state = _state(spec, components)
    _check_numbers(spec, state)
    for name, tensor in state.items():
        # The down matrix, [rank, in] or [rank, in, 1, 1]: one of each pair.
        down = next((end for end in DOWN if name.endswith(end)), None)
        if down is None:
            continue
        found += 1
        shape = _target(name.removesuffix(down), targets)
        if shape is None:
            continue
        if len(shape) < 2 or shape[1] != tensor.shape[1]:
            misfit += 1
        else:
            matched += 1
    if not matched:
        reason = "its sizes are another model's" if misfit else "none of its weights is one of this model's"
        raise ModelError(f"the LoRA {spec.path} does not fit this model: {reason}")
    if matched < found:
        log.warning(
            "the LoRA %s: %d of %d weights fit this model; the others have no effect", spec.path, matched, found
        )


def fused(components: Components, specs: tuple[LoraSpec, ...]) -> tuple[nn.Module, nn.Module]:
    """UNet and text encoder with all LoRA files fused in, through diffusers' own loader.

    Raises:
        ModelError: a file cannot be applied.
    """
    pipeline = _pipeline_class()
    unet, text_encoder = components.module("unet"), components.module("text_encoder")
    pipe: Any = pipeline(
        vae=None,
        text_encoder=text_encoder,
        tokenizer=None,
        unet=unet,
        scheduler=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    for spec in specs:
        try:
            with quiet():
                pipe.load_lora_weights(str(spec.path.parent), weight_name=spec.path.name, local_files_only=True)
                pipe.fuse_lora(lora_scale=spec.scale)
                pipe.unload_lora_weights()
        except Exception as error:
            raise ModelError(f"the LoRA {spec.path} cannot be applied: {first_line(error)}") from None
    return unet.eval().requires_grad_(False), text_encoder.eval().requires_grad_(False)


def _check_numbers(spec: LoraSpec, state: dict[str, Any]) -> None:
    """A LoRA of zeros would change nothing, one with NaN would make every picture black: neither goes unsaid."""
    ups = [tensor for name, tensor in state.items() if name.endswith(UP)]
    if ups and not any(bool(tensor.any()) for tensor in ups):
        raise ModelError(f"the LoRA {spec.path} changes nothing: its weights are all zero (was it trained?)")
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise ModelError(f"the LoRA {spec.path} holds numbers that are not finite; download or train it again")


def _state(spec: LoraSpec, components: Components) -> dict[str, Any]:
    """The file's weights under diffusers' names, whatever layout it is in."""
    from diffusers.configuration_utils import FrozenDict

    try:
        with quiet():
            state: Any = _pipeline_class().lora_state_dict(
                str(spec.path.parent),
                weight_name=spec.path.name,
                local_files_only=True,
                unet_config=FrozenDict(components.config("unet")),
            )
    except Exception as error:
        raise ModelError(f"{spec.path} is not a LoRA that can be read: {first_line(error)}") from None
    return state[0] if isinstance(state, tuple) else state


def _pipeline_class() -> Any:
    # Importing a pipeline has transformers advise about packages that are not needed here.
    with quiet():
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
    return StableDiffusionPipeline


def _target(name: str, targets: dict[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """The shape of the weight that a LoRA's name stands for, in the spellings of diffusers, peft and kohya."""
    name = name.replace(".processor.", ".")
    if ".self_attn." in name:
        for ours, theirs in (("to_q", "q_proj"), ("to_k", "k_proj"), ("to_v", "v_proj"), ("to_out", "out_proj")):
            name = name.replace(f".self_attn.{ours}", f".self_attn.{theirs}")
    candidates = [name, f"unet.{name}", f"{name}.0", f"unet.{name}.0"]
    # transformers 5 dropped the outer "text_model." of CLIP's weights, and files are in either spelling.
    candidates += [candidate.replace("text_encoder.text_model.", "text_encoder.") for candidate in candidates]
    candidates += [candidate.replace("text_encoder.", "text_encoder.text_model.", 1) for candidate in candidates]
    return next((targets[candidate] for candidate in candidates if candidate in targets), None)
