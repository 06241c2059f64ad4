"""The protocol of the engines: a Network says what to run, a Runtime compiles it, the Engine runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a network.

    Attributes:
        name: as the exported graph names it.
        shape: without the batch axis, e.g. (4, 32, 32) or () for one number a row.
        dtype: element type in which the caller gives it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Network:
    """One network to run, not yet built: with a warm engine cache the module is never made.

    Attributes:
        name: "encoder", "unet", "decoder", "text" and so on; one word, it names files too.
        key: content fingerprint of the weights and of the module around them; equal keys compute the same thing.
        inputs: its inputs; all share the batch axis.
        build: makes the module, in eval mode, fp32, on the CPU. Called once at most for each compile. It takes the
            inputs in order, each [batch, *shape], and returns one tensor whose first axis is the batch. Calls do not
            overlap: a module may keep something while it runs.
        model: as the user named it, for lists of what was built.
        exact: it runs once a prompt and not for each frame, so that float32 is worth more than speed.
    """

    name: str
    key: str
    inputs: tuple[Input, ...]
    build: Callable[[], nn.Module]
    model: str = ""
    exact: bool = False


class Engine(Protocol):
    """A network ready to run at any batch size."""

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Run on inputs [batch, *shape] that lie on the runtime's device; the output is the caller's to keep."""
        ...


class Runtime(Protocol):
    """One way of running networks on one device."""

    @property
    def name(self) -> str:
        """Short name, as the user gives it: "torch", "openvino"."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the engines take and return tensors."""
        ...

    @property
    def description(self) -> str:
        """One line for a person: package, version, precision, device."""
        ...

    def compile(self, network: Network) -> Engine:
        """Make the network ready.

        Raises:
            EngineError: it cannot be built here.
        """
        ...


Step: TypeAlias = Callable[[Sequence[NDArray[Any]]], NDArray[Any]]
"""Rows that lie on the host, [*shape] each, to an array [batch, *shape] on the host, the caller's to keep."""


@runtime_checkable
class Recorder(Protocol):
    """A runtime that can also record what happens between its engines, and run the whole as one."""

    def record(self, work: Callable[[], None], given: Tensor, made: Tensor) -> Step:
        """Record work on fixed tensors.

        Args:
            work: reads and writes fixed tensors on the device, and calls this runtime's engines. It is run a few times
                now, in inference mode, and never again: its Python has no part in a step.
            given: the fixed tensor that a step's rows are written to.
            made: the fixed tensor that a step gives a copy of.

        Raises:
            EngineError: it cannot be recorded, or does not fit the memory.
        """
        ...
