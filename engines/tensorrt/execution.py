"""A deserialised plan, and its execution at one batch size: fixed buffers, a stream of its own, one graph replay."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engines.cache import write_atomically
from engines.errors import EngineError
from engines.graphs import captured, capturing
from engines.tensorrt.binding import Binding, check_cuda, one_line

log = logging.getLogger("streamdiff.engines")


def deserialise(binding: Binding, plan: bytes, name: str) -> Any:
    """Load a plan onto the current CUDA device; an ``ICudaEngine``.

    Raises:
        EngineError: there is no device, or the plan is not for it or for this version.
    """
    check_cuda(binding.flavour)
    trt = binding.module
    binding.forget()
    try:
        runtime = trt.Runtime(binding.logger)
    except TypeError:  # the constructor's None, as the binding shows it
        runtime = None
    engine = None if runtime is None else runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"{binding.flavour} cannot load the plan of the {name}: {binding.reason()}")
    return engine


class Execution:
    """One batch size of a loaded plan. Not for two threads at once; its engine sees to that."""

    def __init__(
        self,
        binding: Binding,
        engine: Any,
        name: str,
        inputs: Mapping[str, tuple[int, ...]],
        stream: torch.cuda.Stream,
        jit: Path,
    ) -> None:
        """Make the context and the buffers.

        Args:
            binding: the package.
            engine: its ``ICudaEngine``.
            name: of the network, for messages.
            inputs: names and shapes, the batch first, in the order in which ``run`` takes them.
            stream: where all the work is put.
            jit: file that keeps what TensorRT-RTX compiles on the first run.

        Raises:
            EngineError: no context can be made, or the plan has other inputs.
        """
        self._binding = binding
        self._name = name
        self._stream = stream
        self._jit = jit
        self._graph: torch.cuda.CUDAGraph | None = None
        self._settled = False
        self._plain = False
        # In this order: what is let go of goes from the first to the last, and RTX's context needs the other two.
        self._context, self._config, self._runtime_cache = self._made_context(engine)
        trt = binding.module
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        outputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.OUTPUT]
        if {*names} - {*outputs} != {*inputs} or len(outputs) != 1:
            raise EngineError(f"the plan of the {name} has the tensors {', '.join(names)}; build it again")
        # Of the stream that uses them, so that nothing else is given their memory while it still does.
        with torch.cuda.stream(stream):
            self._inputs = [self._buffer(engine, n, shape) for n, shape in inputs.items()]
            # Known only now that the inputs' shapes are set.
            self._output = self._buffer(engine, outputs[0], None)
        self._returned = torch.float32 if self._output.is_floating_point() else self._output.dtype

    @torch.inference_mode()
    def run(self, inputs: Sequence[Tensor]) -> Tensor:
        """Run on tensors of exactly this execution's shapes; returns when the work is queued, not when it is done.

        Raises:
            EngineError: a wrong shape, or TensorRT refuses to run.
        """
        for buffer, tensor in zip(self._inputs, inputs, strict=True):
            # copy_ would broadcast in silence.
            if tensor.shape != buffer.shape:
                raise EngineError(f"the {self._name} takes {tuple(buffer.shape)}, and was given {tuple(tensor.shape)}")
        caller = torch.cuda.current_stream(self._stream.device)
        # Made on the caller's stream: when the caller lets go of it, it is used again in that stream's order.
        output = torch.empty(self._output.shape, dtype=self._returned, device=self._output.device)
        self._stream.wait_stream(caller)
        try:
            with torch.cuda.stream(self._stream):
                for buffer, tensor in zip(self._inputs, inputs, strict=True):
                    buffer.copy_(tensor, non_blocking=True)
                self._launch()
                output.copy_(self._output, non_blocking=True)
        finally:
            # The caller's next work waits for the copies out of its inputs too, so that it may use their memory again.
            caller.wait_stream(self._stream)
        return output

    def forget_graph(self) -> None:
        """Capture again at the next run: the weights have changed places."""
        self._graph = None
        self._settled = self._plain = False

    def _launch(self) -> None:
        if self._graph is not None:
            self._graph.replay()
            return
        # The first run settles shapes, loads kernels and, in RTX, compiles them: none of it may happen in a capture.
        self._enqueue()
        if not self._settled:
            self._settled = True
            self._keep_kernels()
        if self._plain:
            return
        capturable = getattr(self._context, "is_stream_capturable", None)
        try:
            if capturable is not None and not capturable(self._stream.cuda_stream):
                raise EngineError("its package says so")
            self._graph = self._captured()
        except EngineError as error:
            # It has run, and goes on running; tried once, for each try waits for the whole device.
            self._plain = True
            log.warning(
                "the %s cannot be captured into a CUDA graph, and runs slower without: %s", self._name, str(error)
            )

    def _captured(self) -> torch.cuda.CUDAGraph:
        queued = False

        def work() -> None:
            nonlocal queued
            queued = self._context.execute_async_v3(self._stream.cuda_stream)

        try:
            with capturing:
                graph = captured(work, self._stream.device, self._stream, torch.cuda.graph_pool_handle())
        except RuntimeError as error:
            raise EngineError(one_line(str(error))) from error
        # Refused, it has left an empty graph, which would give the same picture for ever.
        if not queued:
            raise EngineError(self._binding.reason())
        return graph

    def _enqueue(self) -> None:
        self._binding.forget()
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            raise EngineError(f"{self._binding.flavour} could not run the {self._name}: {self._binding.reason()}")

    def _made_context(self, engine: Any) -> tuple[Any, Any, Any]:
        """The context, and what RTX's must not outlive: its configuration and the cache of its kernels."""
        self._binding.forget()
        config: Any = None
        cache: Any = None
        if self._binding.flavour == "tensorrt-rtx":
            config = engine.create_runtime_config()
            cache = None if config is None else config.create_runtime_cache()
            if config is None or cache is None:
                raise EngineError(
                    f"{self._binding.flavour} could not prepare to run the {self._name}: {self._binding.reason()}"
                )
            # What was compiled for another card, driver or version is refused there, and compiled again.
            if self._jit.is_file():
                cache.deserialize(self._jit.read_bytes())
            config.set_runtime_cache(cache)
            # Compiled in the background otherwise, and the graph would hold the slow kernels for good.
            strategies = self._binding.module.DynamicShapesKernelSpecializationStrategy
            config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
            context = engine.create_execution_context(config)
        else:
            context = engine.create_execution_context()
        if context is None:
            raise EngineError(
                f"{self._binding.flavour} could not make a context for the {self._name} ({self._binding.reason()}); if "
                "memory ran out, close other programs or use a smaller size"
            )
        return context, config, cache

    def _keep_kernels(self) -> None:
        """Keep what RTX compiled on the first run: it is most of the time that a start takes."""
        if self._runtime_cache is None:
            return
        self._stream.synchronize()  # it is whole only when the run is over
        serialised = self._runtime_cache.serialize()
        if serialised is None:
            return
        data = bytes(serialised)
        if not self._jit.is_file() or self._jit.read_bytes() != data:
            write_atomically(self._jit, data)

    def _buffer(self, engine: Any, name: str, shape: tuple[int, ...] | None) -> Tensor:
        """A tensor at a fixed address, bound to one input, or, without a shape, to the output."""
        if shape is not None and not self._context.set_input_shape(name, shape):
            raise EngineError(f"the plan of the {self._name} does not take {shape} as its {name}; build it again")
        dtype = _dtype(self._binding.module, engine.get_tensor_dtype(name))
        size = tuple(self._context.get_tensor_shape(name)) if shape is None else shape
        buffer = torch.zeros(size, dtype=dtype, device=self._stream.device)
        if not self._context.set_tensor_address(name, buffer.data_ptr()):
            raise EngineError(f"the plan of the {self._name} does not take a buffer for its {name}; build it again")
        return buffer


def _dtype(trt: Any, dtype: Any) -> torch.dtype:
    known = {
        trt.DataType.FLOAT: torch.float32,
        trt.DataType.HALF: torch.float16,
        trt.DataType.BF16: torch.bfloat16,
        trt.DataType.INT32: torch.int32,
        trt.DataType.INT64: torch.int64,
        trt.DataType.UINT8: torch.uint8,
        trt.DataType.BOOL: torch.bool,
    }
    return known[dtype]
