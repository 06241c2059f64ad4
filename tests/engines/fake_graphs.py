"""CUDA graphs without CUDA: the operations of a recording, on the tensors it was made with, and nothing of its Python.

A replay runs each operation again with the very arguments it had and puts the result where it was put: whatever the
work reads that is not in a fixed tensor is as frozen as in a real graph.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engines.graphs import Replay, as_recording

Taped = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Taped] = []

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, result))
        return result


class FakeGraphs:
    """``Graphs`` on the CPU; counts what it did. A recording or a replay fails when it is told to."""

    def __init__(self, taped: bool = True) -> None:
        """A tape cannot see into what torch.compile made, and keeps it from compiling more: such work is run again."""
        self._taped = taped
        self.recorded = self.replayed = 0
        self.fails = False

    @torch.inference_mode()
    def record(self, work: Callable[[], None]) -> Replay:
        if self.fails:
            raise torch.OutOfMemoryError("no")
        with as_recording():
            for _ in range(2):
                work()
            self.recorded += 1
            if not self._taped:
                return torch.inference_mode()(work)
            with _Tape() as tape:
                work()
        return partial(self._replay, tape.operations)

    @torch.inference_mode()
    def _replay(self, operations: list[Taped]) -> None:
        if self.fails:
            raise RuntimeError("the device has gone")
        self.replayed += 1
        for func, args, kwargs, before in operations:
            now = func(*args, **kwargs)
            for old, new in zip(tree_leaves(before), tree_leaves(now), strict=True):
                # Views and what was changed in place are where they were.
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)

    def turns(self) -> AbstractContextManager[object]:
        return threading.Lock()
