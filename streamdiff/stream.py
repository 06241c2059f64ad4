"""Stream: the public face of the engine. Synchronous; owns no thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from engines import Engine, Runtime, choose, shared_engine
from streamdiff.conditioning import Conditioning
from streamdiff.config import StreamConfig
from streamdiff.errors import ClosedError
from streamdiff.frame import Frame, Pixels
from streamdiff.models.base import Model
from streamdiff.picture import cover, to_pixels
from streamdiff.schedule import Plan, plan_of, slot_noise
from streamdiff.similarity import SimilarityFilter
from streamdiff.stream_batch import StreamBatch, Terms

if TYPE_CHECKING:
    from streamdiff.models import LoraSpec


@dataclass(frozen=True)
class Engines:
    """The three networks of a frame's way, ready for one size.

    Attributes:
        encoder: uint8 [F, H, W, 3] to clean latents [F, C, h, w].
        unet: (x, t, text) to prediction.
        decoder: clean latents [F, C, h, w] to uint8 [F, H, W, 3].
    """

    encoder: Engine
    unet: Engine
    decoder: Engine


@dataclass(frozen=True)
class _Setting:
    """All that follows from a configuration, computed before anything changes, so that a failure changes nothing."""

    config: StreamConfig
    plan: Plan
    engines: Engines
    terms: Terms


@dataclass
class _Entry:
    """A frame that was let in, and the frames after it that the similarity filter made repeat it."""

    frame: Frame
    followers: list[Frame] = field(default_factory=list[Frame])
    done: bool = False


class Stream:
    """Pictures in, stylised pictures out, in order.

    With n denoising steps (and buffers of F frames) a frame comes out n - 1 pushes (of F frames) after it went in;
    with one step, at once. Every setting may change at any time: frames already in are finished as they began.

    Attributes:
        model: the model it runs.
        runtime: what runs its networks.
        skipped: frames that the similarity filter repeated.
    """

    def __init__(self, model: Model, runtime: Runtime, config: StreamConfig) -> None:
        """Prepare a stream; engines of the same model and size are shared with other streams.

        Raises:
            ConfigError: the model cannot run this configuration.
            EngineError: an engine cannot be built here.
        """
        self.model = model
        self.runtime = runtime
        self.skipped = 0
        self._conditioning: Conditioning | None = Conditioning(model, runtime)
        self._wanted = self._active = self._prepare(config, None)
        self._filter = SimilarityFilter(config.seed)
        self._batch = self._new_batch()
        self._waiting: list[_Entry] = []
        self._newest: _Entry | None = None
        self._last: Pixels | None = None
        self._count = 0

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | Model = "tiny",
        *,
        engine: str = "auto",
        device: str | None = None,
        lora: Sequence[LoraSpec | str] = (),
        vae: str | Path | None = None,
        **settings: Any,
    ) -> Stream:
        """Load a model and prepare a stream.

        Args:
            model: "tiny" (inside the package), a diffusers folder, a .safetensors checkpoint, or a hub id; or a Model.
            engine: "auto", "openvino" or "torch".
            device: "cpu", "cuda", "mps"; None takes the best there is.
            lora: "FILE:SCALE" each.
            vae: another VAE, such as a TAESD folder.
            settings: fields of StreamConfig; the size is the model's own where it is not given.

        Raises:
            ConfigError, ModelError, EngineError: in one line, what to do.
        """
        from streamdiff.models import load_model

        StreamConfig.make(**settings)  # before the seconds that loading may take
        runtime = choose(engine, device)
        loaded = model if isinstance(model, Model) else load_model(model, lora=lora, vae=vae)
        width, height = loaded.default_size
        return cls(loaded, runtime, StreamConfig.make(**{"width": width, "height": height, **settings}))

    @property
    def config(self) -> StreamConfig:
        """The settings that the next frame will be made with."""
        self._check_open()
        return self._wanted.config

    @property
    def engines(self) -> Engines:
        """The networks at the present size, for measuring them one by one."""
        self._check_open()
        return self._wanted.engines

    @property
    def in_flight(self) -> int:
        """Frames that went in and have not come out."""
        self._check_open()
        return sum(len(entries) for entries in self._batch.loads) + len(self._waiting)

    def __call__(self, picture: Any) -> Any:
        """Push one picture and get the newest finished one.

        Args:
            picture: PIL image, numpy [H, W, 3] uint8 RGB (or floats in 0..1), or torch [3, H, W]; any size: it is
                scaled to cover the stream's size and cut to its centre.

        Returns:
            A picture of the same kind, or None while the slots fill. ``push`` gives every frame that comes out.

        Raises:
            PictureError: not a picture.
        """
        pixels, back = to_pixels(picture)
        finished = self.push(Frame(pixels, index=self._count))
        return back(finished[-1].pixels) if finished else None

    def push(self, frame: Frame) -> list[Frame]:
        """Let a frame in.

        Returns:
            The frames that came out, in order, each with the times and identity it went in with: usually one; none
            while the slots fill; several after a change of steps or size, or when a still scene has settled.

        Raises:
            ClosedError: the stream is closed.
        """
        self._check_open()
        self._count += 1
        finished = self._switch()
        config = self._active.config
        entry = _Entry(frame.with_pixels(cover(frame.pixels, config.width, config.height)))
        threshold = config.similarity_threshold
        if threshold is not None and self._filter.skip(entry.frame.pixels, threshold, config.max_skip):
            return finished + self._skip(entry.frame)
        self._waiting.append(entry)
        self._newest = entry
        if len(self._waiting) < config.frame_buffer_size:
            return finished
        return finished + self._enter()

    def flush(self) -> list[Frame]:
        """Finish every frame that is in, without new input; returns them in order."""
        self._check_open()
        finished = self._enter() if self._waiting else []
        while self._batch.loads:
            finished += self._advance()
        return finished

    def update(self, **settings: Any) -> None:
        """Change settings; the next frame that enters is made with them.

        Raises:
            ConfigError: unknown name or value out of bounds.
            EngineError: an engine for a new size cannot be built. In either case nothing has changed.
        """
        self._check_open()
        config = self._wanted.config.changed(**settings)
        if config != self._wanted.config:
            self._wanted = self._prepare(config, self._wanted)

    def reset(self) -> None:
        """Forget every frame that is in; the settings stay."""
        self._check_open()
        self._active = self._wanted
        self._batch = self._new_batch()
        self._waiting = []
        self._newest = self._last = None
        self._filter.force()

    def close(self) -> None:
        """Let go of the engines and of all frames; the last stream of a model frees its memory."""
        self._conditioning = None
        self._waiting = []
        self._newest = self._last = None
        for name in ("_wanted", "_active", "_batch"):
            self.__dict__.pop(name, None)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._conditioning is None:
            raise ClosedError("this stream is closed; make a new one")

    def _prepare(self, config: StreamConfig, before: _Setting | None) -> _Setting:
        """Compute what a configuration needs, taking over what has not changed."""
        assert self._conditioning is not None
        model, device = self.model, self.runtime.device
        plan = plan_of(config, model.alphas_cumprod, model.prediction)
        size = config.width, config.height
        same_size = before is not None and size == (before.config.width, before.config.height)
        if before is not None and same_size:
            engines = before.engines
        else:
            networks = model.encoder(*size), model.unet(*size), model.decoder(*size)
            engines = Engines(*(shared_engine(self.runtime, network) for network in networks))
        if before is not None and same_size and (config.seed, len(plan)) == (before.config.seed, len(before.plan)):
            noise = before.terms.noise  # a change of prompt draws nothing
        else:
            noise = slot_noise(config.seed, plan, model.latent_shape(*size)).to(device)
        terms = Terms(
            text=self._conditioning.embed(config.prompt),
            negative=self._conditioning.embed(config.negative_prompt),
            noise=noise,
            guidance=config.guidance_in_use,
            scale=config.guidance_scale,
            delta=config.delta,
        )
        return _Setting(config, plan, engines, terms)

    def _new_batch(self) -> StreamBatch[list[_Entry]]:
        setting = self._active
        return StreamBatch(setting.engines.unet, setting.plan, image_conditioned=self.model.image_conditioned)

    def _switch(self) -> list[Frame]:
        """Make the wanted setting the active one; returns the frames that this drained."""
        old, new = self._active, self._wanted
        if old is new:
            return []
        # What waits for its buffer to fill went in under the old setting.
        finished = self._enter() if self._waiting else []
        if old.plan != new.plan or old.engines is not new.engines:
            while self._batch.loads:
                finished += self._advance()
        self._active = new
        if old.plan != new.plan or old.engines is not new.engines:
            self._batch = self._new_batch()
        self._filter.force()
        if old.config.seed != new.config.seed:
            self._filter.seed(new.config.seed)
        return finished

    def _enter(self) -> list[Frame]:
        """Encode the frames that wait and push them into the first slot."""
        entries, self._waiting = self._waiting, []
        try:
            pixels = torch.from_numpy(np.stack([entry.frame.pixels for entry in entries]))
            clean = self._active.engines.encoder(pixels.to(self.runtime.device))
            return self._leave(self._batch.push(clean, self._active.terms, entries))
        except BaseException:
            # These frames are lost; nothing may be compared with them or wait for them.
            self._filter.force()
            self._newest = None
            raise

    def _advance(self) -> list[Frame]:
        return self._leave(self._batch.step())

    def _leave(self, finished: tuple[Tensor, list[_Entry]] | None) -> list[Frame]:
        """Decode what finished; each frame is followed by those that repeat it."""
        if finished is None:
            return []
        latents, entries = finished
        pictures = cast("Pixels", self._active.engines.decoder(latents).cpu().numpy())
        frames: list[Frame] = []
        for entry, picture in zip(entries, pictures, strict=True):
            entry.done = True
            self._last = picture
            # The input pixels are not needed any more; followers hold none.
            frames.append(entry.frame.with_pixels(picture))
            frames += [frame.with_pixels(picture, repeated=True) for frame in entry.followers]
        return frames

    def _skip(self, frame: Frame) -> list[Frame]:
        """Answer a frame that is not computed: repeat the last output, or first bring out what is still in."""
        self.skipped += 1
        if self._newest is None or self._newest.done:
            assert self._last is not None
            return [frame.with_pixels(self._last, repeated=True)]
        self._newest.followers.append(frame)
        return self._enter() if self._waiting else self._advance()
