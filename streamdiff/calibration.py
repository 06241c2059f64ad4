"""What a model's networks are given in use: the samples that a quantisation is calibrated on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from engines import Engine, Network, Runtime
from streamdiff.config import StreamConfig
from streamdiff.frame import Frame, Pixels
from streamdiff.models.base import Model
from streamdiff.stream import Stream

PROMPTS = ("a photo", "oil painting of a person", "pencil sketch", "anime, bright colours", "neon city at night", "")
"""For models that do not say which prompts they know."""

PLANS = ((1, 0.5), (1, 0.2), (1, 0.95), (2, 0.5), (1, 0.35), (1, 0.7), (4, 0.8), (1, 0.5))
"""Steps and strengths, in turn: ranges move with the timestep (PTQ4DM), so they go over all that is used."""

Samples = dict[str, list[tuple[Tensor, ...]]]


class RecordingRuntime:
    """A runtime whose engines write down what they are given, row by row, by the network's name."""

    def __init__(self, inner: Runtime) -> None:
        self._inner = inner
        self.name, self.device = inner.name, inner.device
        self.samples: Samples = {}

    @property
    def description(self) -> str:
        """Another for each, so that its engines are shared with nobody."""
        return f"{self._inner.description}, recorded by {id(self)}"

    def compile(self, network: Network) -> Engine:
        """As the runtime inside; networks that run once a prompt are not recorded."""
        engine = self._inner.compile(network)
        if network.exact:
            return engine
        rows = self.samples.setdefault(network.name, [])

        def recorded(*inputs: Tensor) -> Tensor:
            rows.extend(tuple(tensor[i : i + 1].cpu().clone() for tensor in inputs) for i in range(len(inputs[0])))
            return engine(*inputs)

        return recorded


def record(
    model: Model,
    runtime: Runtime,
    size: tuple[int, int],
    pictures: Sequence[Pixels],
    count: int,
    done: Callable[[], None] = lambda: None,
) -> Samples:
    """Run a model in all the ways it is used, at full precision.

    Args:
        model: the model.
        runtime: what runs it.
        size: width and height.
        pictures: real frames, in their order.
        count: settings to go through; each takes two neighbouring pictures.
        done: called after each.

    Returns:
        Rows of inputs by network: "encoder", "unet", "decoder" and, where features can be reused, "unet-deep" (the
        same as the UNet's) and "unet-shallow".
    """
    recording = RecordingRuntime(runtime)
    reuse = 2 if model.deep_channels else 1
    stream = Stream(model, recording, StreamConfig.make(width=size[0], height=size[1], reuse_every=reuse))
    prompts = [style.prompt for style in model.styles] or list(PROMPTS)
    moods = [mood.prompt for mood in model.moods]
    random = np.random.default_rng(0)
    with stream:
        for i in range(count):
            prompt, (steps, strength) = prompts[i % len(prompts)], PLANS[i % len(PLANS)]
            if moods and i % 3 == 0:
                prompt = f"{prompt}, {moods[i % len(moods)]}"
            stream.update(prompt=prompt, steps=steps, strength=strength)
            first = int(random.integers(len(pictures)))
            for k in range(2):
                stream.push(Frame(pictures[min(first + k, len(pictures) - 1)]))
            stream.flush()
            done()
    samples = recording.samples
    if "unet-deep" in samples:
        samples["unet"] = samples["unet-deep"]
    return samples
