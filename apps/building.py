"""What ``streamdiff build`` does: engines ahead of time, and eight bits with the proof that they are good."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from apps.quality import psnr
from engines import EngineError, Network, Runtime, shared_engine
from engines.agreement import difference, feed
from engines.export import require
from engines.notes import note_measured, note_of
from engines.openvino_engine import OpenVINORuntime
from engines.precision import Eight
from engines.quantisation import Sample, require_nncf
from engines.torch_engine import TorchRuntime
from streamdiff.calibration import PROMPTS, record
from streamdiff.conditioning import Conditioning
from streamdiff.config import StreamConfig
from streamdiff.frame import Frame, Pixels
from streamdiff.models.base import Model
from streamdiff.networks import networks_for
from streamdiff.picture import cover
from streamdiff.stream import Stream

SETTINGS = 64
"""Settings that the calibration goes through, two frames each."""

MOST_LOSS = 1.0
"""dB that eight bits may lose to be chosen by itself."""

LEAST_GAIN = 1.05
"""Times as fast that it must be."""

NEAREST = 0.3
"""Strength at which a picture is compared with what went in: near enough for a truth, far enough to need the UNet."""


class Quantiser(Runtime, Protocol):
    """A runtime that runs networks in eight bits."""

    def quantise(self, network: Network, samples: Sequence[Sample]) -> None:
        """Prepare a network for eight bits, from rows of its inputs, and keep it."""
        ...

    def eight_file(self, network: Network) -> Path:
        """Where a network's form in eight bits is kept, and its note."""
        ...


@dataclass(frozen=True)
class Precisions:
    """The runtimes that a build in eight bits works with.

    Attributes:
        exact: float32, the truth.
        full: the best precision of more bits.
        eight: eight bits, once they are prepared.
        quantiser: prepares it.
        by_itself: whether eight bits are used where no precision is asked for and they are good.
    """

    exact: Runtime
    full: Runtime
    eight: Runtime
    quantiser: Quantiser
    by_itself: bool


def precisions(runtime: Runtime, eight: Eight = "int8") -> Precisions:
    """For a runtime of full precision, its engine and device, and which eight bits are wanted.

    Raises:
        EngineError: it has none of these, or what that needs is not installed.
    """
    from engines.tensorrt import TensorRTRuntime

    if isinstance(runtime, TensorRTRuntime):
        device, flavour = runtime.device, runtime.binding.flavour
        require("onnx", "onnxruntime")
        quantiser = TensorRTRuntime(device, flavour, eight, progress=runtime.progress)
        return Precisions(TorchRuntime(device, "fp32"), runtime, quantiser, quantiser, by_itself=False)
    if eight != "int8" or not isinstance(runtime, OpenVINORuntime):
        cpu = "--device cpu for openvino, or " if eight == "int8" else ""
        raise EngineError(f"{eight} is not for {runtime.name}: use {cpu}--engine tensorrt or tensorrt-rtx")
    require_nncf()
    exact = OpenVINORuntime("fp32")
    return Precisions(exact, _full(), OpenVINORuntime("int8"), exact, by_itself=True)


class Watch(Protocol):
    """Who is told how far a build has come."""

    def stage(self, text: str, total: int | None = None) -> None:
        """A new stage begins, of so many parts."""
        ...

    def part(self) -> None:
        """One part of it is done."""
        ...

    def share(self, phase: str, share: float) -> None:
        """An engine's own builder has done a share, 0..1, of a phase."""
        ...


@dataclass(frozen=True)
class Verdict:
    """What eight bits cost and bring.

    Attributes:
        loss_db: fall of the output's PSNR against the input, in the model's most faithful setting: what is lost where
            there is a truth. Below zero it has gained.
        full_psnr: of full precision (bf16 where the CPU has it) against fp32, over styles and strengths, dB.
        eight_psnr: of eight bits against fp32, dB.
        full_ms: milliseconds a frame of full precision, median.
        eight_ms: of eight bits.
    """

    loss_db: float
    full_psnr: float
    eight_psnr: float
    full_ms: float
    eight_ms: float

    @property
    def speedup(self) -> float:
        """How many times as fast."""
        return self.full_ms / self.eight_ms

    @property
    def good(self) -> bool:
        """Whether it may be chosen by itself."""
        return self.loss_db <= MOST_LOSS and self.speedup >= LEAST_GAIN

    def figures(self) -> dict[str, float]:
        """For the note beside the engines."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def all_networks(model: Model, runtime: Runtime, size: tuple[int, int]) -> list[Network]:
    """Every network of a model at a size, those for feature reuse too; runs the conditioner to know its width.

    Raises:
        EngineError: it cannot be built.
    """
    conditioning = Conditioning(model, runtime).rows((499,), "")[0].shape[1]
    found: dict[str, Network] = {}
    for reuse in (1, 2) if model.deep_channels else (1,):
        config = StreamConfig.make(width=size[0], height=size[1], reuse_every=reuse)
        found |= {network.name: network for network in networks_for(model, config, conditioning)}
    return [model.text_encoder(), model.conditioner(), *found.values()]


def build(model: Model, runtime: Runtime, size: tuple[int, int], watch: Watch, most: int = 1) -> None:
    """Make every engine of a model and keep it in the cache.

    Args:
        model: the model.
        runtime: what builds them.
        size: width and height.
        watch: is told of the progress.
        most: rows of the UNet at once that it is to be ready for, and all fewer, as a stream of several steps has them
            while it fills: an engine that makes something for each count makes it when it is first run with so many.

    Raises:
        EngineError: one cannot be built.
    """
    networks = all_networks(model, runtime, size)
    for i, network in enumerate(networks, 1):
        watch.stage(f"building the {network.name} ({i} of {len(networks)})")
        engine = shared_engine(runtime, network)
        for batch in range(2, most + 1) if network.name.startswith("unet") else ():
            watch.stage(f"building the {network.name} for {batch} rows at once ({i} of {len(networks)})")
            engine(*(torch.zeros(batch, *i.shape, dtype=i.dtype, device=runtime.device) for i in network.inputs))


def check(model: Model, runtime: Runtime, size: tuple[int, int]) -> list[tuple[str, float, float]]:
    """How far each network of a frame's way is from float32, on random inputs.

    TensorRT's plans are compared with ONNX Runtime by polygraphy, all others with PyTorch.

    Returns:
        Network, largest difference of an element (of pictures in levels of 255), relative L2 difference.

    Raises:
        EngineError: one cannot be built or compared.
    """
    from engines.tensorrt import TensorRTRuntime
    from engines.tensorrt.check import check as check_plan

    found: list[tuple[str, float, float]] = []
    for network in (n for n in all_networks(model, runtime, size) if not n.exact):
        if isinstance(runtime, TensorRTRuntime):
            (far,) = check_plan(runtime, network)
        else:
            inputs = [torch.from_numpy(array) for array in feed(network, 1, 0).values()]
            got = shared_engine(runtime, network)(*(tensor.to(runtime.device) for tensor in inputs))
            want = shared_engine(TorchRuntime("cpu"), network)(*inputs)
            far = difference("output", want.cpu().numpy(), got.cpu().numpy())
        found.append((network.name, far.largest, far.relative))
    return found


def built_eight(model: Model, size: tuple[int, int], using: Precisions) -> Verdict | None:
    """What was measured when eight bits were built for a model and size; None where not, or not to the end."""
    networks = [network for network in all_networks(model, using.exact, size) if not network.exact]
    notes = [note_of(using.quantiser.eight_file(network)) for network in networks]
    measured = [note.figures for note in notes if note is not None and note.figures]
    known = len(measured) == len(notes) and measured[0].keys() == Verdict.__annotations__.keys()
    return Verdict(**measured[0]) if known else None


def build_eight(
    model: Model, size: tuple[int, int], pictures: Sequence[Pixels], watch: Watch, using: Precisions
) -> Verdict:
    """Quantise a model, compare it with full precision, and say whether it is to be used by itself.

    Args:
        model: the model.
        size: width and height.
        pictures: real frames, some dozens; every fourth is kept from the calibration for the comparison.
        watch: is told of the progress.
        using: with what.

    Raises:
        EngineError: it cannot be built here.
    """
    kept = [p for i, p in enumerate(pictures) if i % 4 == 3] or list(pictures)
    rest = [p for i, p in enumerate(pictures) if i % 4 != 3] or list(pictures)
    watch.stage("recording what the networks are given", SETTINGS)
    samples = record(model, using.exact, size, rest, SETTINGS, watch.part)
    networks = [network for network in all_networks(model, using.exact, size) if not network.exact]
    for network in networks:
        watch.stage(f"quantising the {network.name}")
        using.quantiser.quantise(network, samples.pop(network.name))
    verdict = compare(model, size, kept, watch, using)
    for network in networks:
        note_measured(using.quantiser.eight_file(network), using.by_itself and verdict.good, verdict.figures())
    return verdict


def compare(
    model: Model, size: tuple[int, int], pictures: Sequence[Pixels], watch: Watch, using: Precisions
) -> Verdict:
    """Measure eight bits against full precision: quality against fp32 and against the input, and time in turns."""
    config = StreamConfig.make(width=size[0], height=size[1])
    streams = [Stream(model, runtime, config) for runtime in (using.exact, using.full, using.eight)]
    prompts = [style.prompt for style in model.styles] or list(PROMPTS)
    plain = next((p for p in prompts if "photo" in p), "")
    watch.stage("comparing with full precision", len(prompts) + len(pictures))
    against_exact: list[list[float]] = [[], []]
    for i, prompt in enumerate(prompts):
        outs = [
            _one(stream, pictures[i % len(pictures)], prompt=prompt, strength=(0.35, 0.5, 0.8)[i % 3])
            for stream in streams
        ]
        for scores, out in zip(against_exact, outs[1:], strict=True):
            scores.append(psnr(out, outs[0]))
        watch.part()
    against_input: list[list[float]] = [[], []]
    for picture in pictures:
        frame = _fitted(streams[0], picture)
        for scores, stream in zip(against_input, streams[1:], strict=True):
            scores.append(psnr(_one(stream, frame, prompt=plain, strength=NEAREST), frame))
        watch.part()
    full_ms, eight_ms = _in_turns(streams[1], streams[2], pictures, watch)
    verdict = Verdict(
        loss_db=statistics.mean(against_input[0]) - statistics.mean(against_input[1]),
        full_psnr=statistics.mean(against_exact[0]),
        eight_psnr=statistics.mean(against_exact[1]),
        full_ms=full_ms,
        eight_ms=eight_ms,
    )
    for stream in streams:
        stream.close()
    return verdict


def _full() -> OpenVINORuntime:
    """The best precision of this CPU that is not int8."""
    try:
        return OpenVINORuntime("bf16")
    except EngineError:
        return OpenVINORuntime("fp32")


def _one(stream: Stream, picture: Pixels, **settings: object) -> Pixels:
    stream.update(**settings)
    stream.reset()
    (frame,) = stream.push(Frame(picture)) + stream.flush()
    return frame.pixels


def _fitted(stream: Stream, picture: Pixels) -> Pixels:
    return np.ascontiguousarray(cover(picture, stream.config.width, stream.config.height))


def _in_turns(a: Stream, b: Stream, pictures: Sequence[Pixels], watch: Watch, rounds: int = 12) -> tuple[float, float]:
    """Median milliseconds a frame of two streams that take turns, so that a busy machine is as busy for both."""
    watch.stage("measuring the speed in turns", rounds)
    seconds: tuple[list[float], list[float]] = ([], [])
    for round_ in range(rounds):
        for stream, times in zip((a, b), seconds, strict=True):
            for k in range(6):
                started = time.perf_counter()
                stream.push(Frame(pictures[(round_ + k) % len(pictures)]))
                if k:  # the first finds the caches full of the other's weights
                    times.append(time.perf_counter() - started)
        watch.part()
    return statistics.median(seconds[0]) * 1e3, statistics.median(seconds[1]) * 1e3
