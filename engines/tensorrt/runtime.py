"""The runtime: what plans are built for, how they are named in the cache, and who builds them."""

from __future__ import annotations

import importlib
import logging
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from engines import export
from engines.base import Engine, Network
from engines.cache import cache_file, write_atomically
from engines.errors import EngineError
from engines.export import Precision
from engines.notes import Note, read_note, write_note
from engines.precision import EIGHT_BITS, Eight
from engines.quantisation import Sample
from engines.quantised_onnx import PRODUCTS, quantise_onnx
from engines.tensorrt import binding as bindings
from engines.tensorrt import plans
from engines.tensorrt.binding import Binding, Flavour
from engines.tensorrt.builder import Plan, Profile, build
from engines.tensorrt.edges import bytes_at_edges
from engines.tensorrt.engine import Loaded, TensorRTEngine
from engines.tensorrt.execution import deserialise
from engines.tensorrt.progress import Progress
from engines.torch_engine import TorchRuntime

log = logging.getLogger("streamdiff.engines")

FLOAT8_FROM = (8, 9)
"""Compute capability of the first cards with float8: Ada."""

FORMAT = 1
"""Raised when this package changes what a kept plan computes."""


class TensorRTRuntime:
    """TensorRT or TensorRT-RTX on a CUDA device."""

    def __init__(
        self,
        device: torch.device | str = "cuda",
        flavour: Flavour | None = None,
        precision: str = "fp16",
        *,
        refittable: bool = False,
        profile: Profile | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Prepare the runtime.

        Args:
            device: a CUDA device.
            flavour: which package; None takes "tensorrt" where it is installed, else "tensorrt-rtx".
            precision: of weights and arithmetic; the caller's types are the same in all. "int8" and "fp8", beside fp16,
                are for networks that ``quantise`` has prepared; RTX has products of matrices in fp8, but no
                convolutions.
            refittable: build the denoiser so that its matrices and kernels can be replaced (``TensorRTEngine.refit``).
            profile: batch sizes that one plan serves, slower than a plan for each, the weights held once; None builds
                a plan for each batch size that is asked for.
            progress: told how far a build is.

        Raises:
            EngineError: the package or its libraries are missing, there is no CUDA device, an unknown precision, or one
                that the card lacks.
        """
        if precision not in ("fp16", "fp32", *EIGHT_BITS):
            raise EngineError(f"precision {precision!r}: TensorRT takes fp16, fp32, int8 or fp8")
        self.eight: Eight | None = next((e for e in EIGHT_BITS if e == precision), None)
        if self.eight is not None and refittable:
            raise EngineError(f"weights in {precision} cannot be replaced; leave refittable out, or use fp16")
        self.binding: Binding = bindings.load(flavour)
        wanted = torch.device(device)
        if wanted.type != "cuda":
            raise EngineError(f"{self.name} runs on CUDA devices, not on {wanted}")
        bindings.check_cuda(self.binding.flavour)
        # With its index: another thread's current device may be another one.
        self.device = torch.device("cuda", torch.cuda.current_device() if str(wanted) == "cuda" else wanted.index)
        self.card = bindings.card(self.binding.flavour, self.device)
        if not bindings.supported(self.binding, self.card):
            log.warning(
                "%s does not name the %s among its cards and may fail on it; --engine cuda does not need it",
                self.name, self.card.name,
            )  # fmt: skip
        if precision == "fp8" and self.card.capability < FLOAT8_FROM:
            raise EngineError(f"fp8 is for cards from Ada and Hopper on; int8 is for {self.card.name} too")
        self.precision = precision
        self.refittable = refittable
        self.profile = profile
        self.progress = progress

    @property
    def name(self) -> str:
        """The flavour."""
        return self.binding.flavour

    @property
    def description(self) -> str:
        """Package, version, precision, card, and how plans are built."""
        parts = [f"{self.name} {self.binding.version}", self.precision, f"{self.card.name} ({self.device})"]
        if self.refittable:
            parts.append("refittable")
        if self.profile is not None:
            parts.append(f"batches {self.profile}")
        return ", ".join(parts)

    def compile(self, network: Network) -> Engine:
        """Build the network for a batch of 1, or for the profile, or load it from the cache.

        Raises:
            EngineError: it cannot be exported, built or loaded.
        """
        # Text encoder and conditioner run once a prompt, in float32: a build would take longer than it could ever gain.
        if network.exact:
            return TorchRuntime(self.device).compile(network)
        if self.eight is not None:
            self._prepared(network)

        def load(batch: int) -> Loaded:
            file = self.plan_file(network, batch)
            kept = file.is_file()
            plan = self.plan(network, batch)
            try:
                engine = deserialise(self.binding, plan.data, network.name)
            except EngineError as error:
                again = f"; if it stays so, delete {file}: the plan is then built anew" if kept else ""
                raise EngineError(f"{error}{again}") from error
            return Loaded(engine, plan.weights, plans.jit_file(file))

        return TensorRTEngine(self.binding, network, self.device, self.profile, load)

    def plan(self, network: Network, batch: int) -> Plan:
        """The plan for a batch size, or for the profile, from the cache or newly built on the current CUDA device.

        Raises:
            EngineError: it cannot be exported or built.
        """
        about = f"{network.name}, batch {self.profile or batch}, {self.description}"
        file = self.plan_file(network, batch)
        plan = plans.kept(file, about, lambda: self._build(network, batch))
        if file.is_file() and read_note(file) is None:
            write_note(file, Note.of(network, self.name, self.precision))
        return plan

    def quantise(self, network: Network, samples: Sequence[Sample]) -> None:
        """Prepare a network for eight bits: its graph is kept, and plans for any batch size are built from that.

        Args:
            network: not an exact one.
            samples: rows of its inputs, as many as are to be run.

        Raises:
            EngineError: it failed.
        """
        if self.eight is None:
            raise EngineError(f"precision {self.precision!r}: only {' and '.join(EIGHT_BITS)} are calibrated")
        path = self.eight_file(network)
        matrices_only = self.eight == "fp8" and self.name == "tensorrt-rtx"
        products = [p for p in PRODUCTS if p != "Conv" or not matrices_only]
        with tempfile.TemporaryDirectory(prefix="streamdiff") as folder:
            onnx = Path(folder) / path.name
            export.export_onnx(network, onnx, precision="fp16", batch=None, folded=True)
            quantise_onnx(onnx, network.name, network.inputs, samples, self.eight, products)
            bytes_at_edges(onnx)
            write_atomically(path, onnx.read_bytes())
        if path.is_file():
            write_note(path, Note.of(network, self.name, self.eight, chosen=False))

    def _build(self, network: Network, batch: int) -> Plan:
        log.info("building the %s for %s; this is done once", network.name, self.description)
        if self.eight is not None:
            return build(
                self.binding,
                self.eight_file(network),
                network.name,
                profile=self.profile or Profile(batch, batch, batch),
                timing_cache=self._timing_file(),
                progress=self.progress,
            )
        with tempfile.TemporaryDirectory(prefix="streamdiff") as folder:
            onnx = Path(folder) / f"{network.name}.onnx"
            free = None if self.profile is not None else batch
            full: Precision = "fp32" if self.precision == "fp32" else "fp16"
            export.export_onnx(network, onnx, precision=full, batch=free)
            bytes_at_edges(onnx)
            return build(
                self.binding,
                onnx,
                network.name,
                profile=self.profile,
                refittable=matrices(onnx) if self._refits(network) else None,
                timing_cache=self._timing_file(),
                progress=self.progress,
            )

    def plan_file(self, network: Network, batch: int) -> Path:
        """Where the plan for a batch size, or for the profile, is kept: named by everything that changes it."""
        source = self._prepared(network) if self.eight is not None else ""
        return cache_file(
            network, plans.SUFFIX, FORMAT, export.FORMAT, self.name, self.binding.version, self.precision,
            batch if self.profile is None else self.profile, self._refits(network), self.card, _drawn(), source,
        )  # fmt: skip

    def _prepared(self, network: Network) -> str:
        """When a network's graph in eight bits was written: with another calibration come other plans.

        Raises:
            EngineError: it never was.
        """
        try:
            return str(self.eight_file(network).stat().st_mtime_ns)
        except OSError:
            raise EngineError(
                f"{self.eight}: the {network.name} of this model has not been built at this size; run: "
                f"streamdiff build --engine {self.name} --precision {self.eight}"
            ) from None

    def eight_file(self, network: Network) -> Path:
        """Where a network's graph in eight bits is kept, and its note: what was measured is of one card and version."""
        export.require("onnxruntime")
        # By its module: the package has a name for each kind of device.
        tool = str(importlib.import_module("onnxruntime").__version__)
        return cache_file(
            network,
            ".onnx",
            FORMAT,
            export.FORMAT,
            self.name,
            self.binding.version,
            self.card,
            self.eight,
            _drawn(),
            tool,
        )

    def _refits(self, network: Network) -> bool:
        # LoRAs change the UNet in all its forms; what they change of CLIP and of the conditioner runs in PyTorch.
        return self.refittable and network.name.split("-")[0] == "unet"

    def _timing_file(self) -> Path:
        # Of all networks: what is measured is the card.
        everything = Network("timings", "", (), torch.nn.Identity)
        return cache_file(everything, ".cache", self.name, self.binding.version, self.card)


def _drawn() -> list[str]:
    """Versions of the packages that draw the graph: an upgrade may draw it otherwise."""
    return [version(name) for name in ("torch", "diffusers")]


def matrices(onnx: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what a LoRA changes in an exported file: matrices and kernels, not biases and norms."""
    return {name: shape for name, shape in export.parameters(onnx).items() if len(shape) > 1}
