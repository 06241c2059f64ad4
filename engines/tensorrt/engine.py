"""The engine: one network at any batch size, from plans that are made when they are first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engines.base import Network
from engines.errors import EngineError
from engines.tensorrt.binding import Binding
from engines.tensorrt.builder import Profile, Shapes
from engines.tensorrt.execution import Execution
from engines.tensorrt.refit import check, refit


@dataclass(frozen=True)
class Loaded:
    """A plan on the device.

    Attributes:
        engine: its ``ICudaEngine``.
        weights: names and shapes of the weights that can be refitted.
        jit: file for what TensorRT-RTX compiles when it first runs.
    """

    engine: Any
    weights: Shapes
    jit: Path


class TensorRTEngine:
    """One network: a plan for each batch size, or one plan for a range of them.

    Each plan holds its own copy of the weights.
    """

    def __init__(
        self,
        binding: Binding,
        network: Network,
        device: torch.device,
        profile: Profile | None,
        load: Callable[[int], Loaded],
    ) -> None:
        """Build and load the first plan: that of the profile, or of a batch of 1.

        Args:
            binding: the package.
            network: what the plans compute.
            device: a CUDA device, with its index.
            profile: batch sizes that one plan serves; None for a plan for each.
            load: builds, keeps and loads the plan for a batch size.

        Raises:
            EngineError: it cannot be built or loaded.
        """
        self._binding = binding
        self._network = network
        self._device = device
        self._profile = profile
        self._load = load
        self._plans: dict[int | None, Loaded] = {}
        self._executions: dict[int, Execution] = {}
        self._replaced: dict[str, Tensor] = {}
        # One set of buffers for each batch size, one stream for all; sessions that share the engine take turns.
        self._lock = threading.Lock()
        with self._lock, torch.cuda.device(device):
            self._stream = torch.cuda.Stream(device)
            self._plan(self._first)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Run on inputs [batch, *shape].

        Raises:
            EngineError: a batch size whose plan cannot be built, a shape the network does not have, or a failed run.
        """
        batch = len(inputs[0])
        with self._lock, torch.cuda.device(self._device):
            execution = self._executions.get(batch)
            if execution is None:
                plan = self._plan(batch)
                shapes = {i.name: (batch, *i.shape) for i in self._network.inputs}
                execution = Execution(self._binding, plan.engine, self._network.name, shapes, self._stream, plan.jit)
                self._executions[batch] = execution
            return execution.run(inputs)

    def refit(self, weights: Mapping[str, Tensor]) -> None:
        """Replace weights, of every batch size. Whoever shares this engine gets them too.

        Args:
            weights: by their names in the network's module; any device and floating type.

        Raises:
            EngineError: the plan lets none be replaced, a name is unknown or a shape wrong: nothing has changed then.
                Or TensorRT refused them: the weights are then those before this call.
        """
        name = self._network.name
        with self._lock, torch.cuda.device(self._device):
            check(name, self._plan(self._first).weights, weights)
            # Nothing may be under way while weights change places.
            self._stream.synchronize()
            try:
                for plan in self._plans.values():
                    refit(self._binding, plan.engine, name, weights)
            except BaseException:
                # Some may be new and some old: the plans are loaded again when they are next needed.
                self._executions.clear()
                self._plans.clear()
                raise
            # For plans that are loaded later, with the weights they were built with.
            self._replaced.update({key: tensor.detach().cpu().clone() for key, tensor in weights.items()})
            for execution in self._executions.values():
                execution.forget_graph()

    @property
    def _first(self) -> int:
        return 1 if self._profile is None else self._profile.usual

    def _plan(self, batch: int) -> Loaded:
        """The plan for a batch size, with the weights as they were last replaced."""
        if self._profile is not None and batch not in self._profile:
            raise EngineError(
                f"a batch of {batch} is outside the profile of the {self._network.name} ({self._profile})"
            )
        key = batch if self._profile is None else None
        if (plan := self._plans.get(key)) is None:
            plan = self._load(batch)
            if self._replaced:
                refit(self._binding, plan.engine, self._network.name, self._replaced)
            self._plans[key] = plan
        return plan
