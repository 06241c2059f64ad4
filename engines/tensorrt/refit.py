"""New weights for a loaded plan, by name: how a LoRA is put in or taken out without a build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engines.errors import EngineError
from engines.tensorrt.binding import Binding
from engines.tensorrt.builder import Shapes


def check(name: str, shapes: Shapes, weights: Mapping[str, Tensor]) -> None:
    """Check weights against those that the plan of a network lets replace.

    TensorRT compares counts only: a matrix laid the wrong way round would pass there.

    Raises:
        EngineError: the plan lets none be replaced, a name is unknown, or a shape is not the plan's.
    """
    if not shapes:
        raise EngineError(
            f"the plan of the {name} was built without replaceable weights (8-bit plans always are); build it with "
            "refittable=True"
        )
    unknown = sorted(weights.keys() - shapes.keys())
    if unknown:
        raise EngineError(
            f"the plan of the {name} lacks {len(unknown)} of {len(weights)} weights, such as {unknown[0]}"
        )
    for key, tensor in weights.items():
        if tuple(tensor.shape) != tuple(shapes[key]):
            raise EngineError(
                f"weight {key} of the {name} is {tuple(shapes[key])}, and {tuple(tensor.shape)} was given"
            )


def refit(binding: Binding, engine: Any, name: str, weights: Mapping[str, Tensor]) -> None:
    """Put weights into an ``ICudaEngine`` that has no work under way. Graphs captured before are void afterwards.

    Args:
        binding: the package.
        engine: the loaded plan.
        name: of the network, for messages.
        weights: by their names in the exported module; any device and floating type.

    Raises:
        EngineError: the plan cannot be refitted, or TensorRT refuses; some weights may be replaced by then.
    """
    trt = binding.module
    binding.forget()
    if not engine.refittable:
        raise EngineError(f"the plan of the {name} cannot be refitted; build it with refittable=True")
    try:
        refitter = trt.Refitter(engine, binding.logger)
    except TypeError:  # the constructor's None, as the binding shows it
        raise EngineError(f"{binding.flavour} could not refit the {name}: {binding.reason()}") from None
    dtypes = {
        trt.DataType.FLOAT: torch.float32,
        trt.DataType.HALF: torch.float16,
        trt.DataType.BF16: torch.bfloat16,
    }
    # TensorRT reads them when it refits, not when they are set.
    held: list[Tensor] = []
    for key, tensor in weights.items():
        kind = refitter.get_weights_prototype(key).dtype
        if kind not in dtypes:
            raise EngineError(f"weight {key} of the {name} is {kind.name} in the plan, which cannot be refitted")
        held.append(tensor.detach().to("cpu", dtypes[kind]).contiguous())
        if not refitter.set_named_weights(key, trt.Weights(kind, held[-1].data_ptr(), held[-1].numel())):
            raise EngineError(f"{binding.flavour} does not take weight {key} of the {name}: {binding.reason()}")
    missing = refitter.get_missing_weights()
    if missing:
        raise EngineError(
            f"the plan of the {name} joins weights that must be replaced together: give {missing[0]} too "
            f"({len(missing)} in all)"
        )
    if not refitter.refit_cuda_engine():
        raise EngineError(f"{binding.flavour} could not refit the {name}: {binding.reason()}")
