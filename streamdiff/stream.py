"""Stream: the public face of the engine. Synchronous; owns no thread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from engines import Runtime, choose
from streamdiff.calm import Calm
from streamdiff.conditioning import Conditioning
from streamdiff.config import StreamConfig
from streamdiff.errors import ClosedError, ConfigError
from streamdiff.feature_reuse import ReusingUnet
from streamdiff.frame import Frame, Pixels
from streamdiff.fused_step import Fusing
from streamdiff.models.base import Model
from streamdiff.networks import Engines
from streamdiff.picture import check_pixels, cover, to_pixels
from streamdiff.setting import Proof, Setting, prepare
from streamdiff.similarity import SimilarityFilter
from streamdiff.stream_batch import StreamBatch
from streamdiff.streaming import flushed

if TYPE_CHECKING:
    from streamdiff.models import LoraSpec


@dataclass
class _Entry:
    """A frame that was let in, and the frames after it that the similarity filter made repeat it."""

    frame: Frame
    followers: list[Frame] = field(default_factory=list[Frame])
    done: bool = False


class Stream:
    """Pictures in, stylised pictures out, in order.

    With n denoising steps (and buffers of F frames) a frame comes out n - 1 pushes (of F frames) after it went in;
    with one step, at once. Every setting may change at any time: frames already in are finished as they began (``calm``
    alone acts on whatever comes out).

    Attributes:
        model: the model it runs.
        runtime: what runs its networks.
        skipped: frames that the similarity filter repeated.
        lost: frames that an error of the model has cost.
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
        self.lost = 0
        self._conditioning: Conditioning | None = Conditioning(model, runtime)
        self._wanted = self._active = self._prepare(config, None)
        self._proof = Proof(self._active)
        self._filter = SimilarityFilter(config.seed)
        self._calm = Calm()
        self._calm.keep(config.calm)
        self._fusing = Fusing(runtime, model, self._calm)
        self._batch = self._new_batch()
        self._waiting: list[_Entry] = []
        self._ready: list[Frame] = []
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
        precision: str | None = None,
        lora: Sequence[LoraSpec | str | Path] | LoraSpec | str | Path = (),
        vae: str | Path | None = None,
        **settings: Any,
    ) -> Stream:
        """Load a model and prepare a stream.

        Args:
            model: "tiny" (inside the package), a diffusers folder, a .safetensors checkpoint, or a hub id; or a Model.
            engine: "auto", "openvino", "cuda", "onnxruntime", "torch", "tensorrt" or "tensorrt-rtx".
            device: "cpu", "cuda", "mps"; None takes the best there is.
            precision: "fp32", "bf16", "fp16", "int8" or "fp8", as the engine can; None takes the best that is built.
            lora: "FILE:SCALE", or several.
            vae: another VAE, such as a TAESD folder.
            settings: fields of StreamConfig; the size is the model's own where it is not given.

        Raises:
            ConfigError, ModelError, EngineError: in one line, what to do.
        """
        from streamdiff.models import load_model

        if isinstance(model, Model) and (lora or vae is not None):
            raise ConfigError("lora and vae are a part of loading: give them to load_model; this model is loaded")
        StreamConfig.make(**settings)  # before the seconds that loading may take
        runtime = choose(engine, device, precision)
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
    def burst(self) -> int:
        """Frames that enter the denoiser together."""
        return self.config.frame_buffer_size

    @property
    def in_flight(self) -> int:
        """Frames that went in and have not come out, those that will repeat another included."""
        self._check_open()
        entries = [*self._waiting, *(entry for load in self._batch.loads for entry in load)]
        return sum(1 + len(entry.followers) for entry in entries) + len(self._ready)

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
        # A copy: what is shown again for a skipped frame must not carry what the caller paints on it.
        return back(finished[-1].pixels.copy()) if finished else None

    def push(self, frame: Frame) -> list[Frame]:
        """Let a frame in.

        Returns:
            The frames that came out, in order, each with the times and identity it went in with: usually one; none
            while the slots fill; several after a change of steps or size, or when a still scene has settled.

        Raises:
            ClosedError: the stream is closed.
            PictureError: the frame's pixels are not uint8 [height, width, 3].
            Exception: the model's own. What had finished comes out of the next call; what was lost is counted. Where
                nothing has come yet of settings that make a step larger, its shape goes back to what worked.
        """
        self._check_open()
        check_pixels(frame.pixels)
        self._count += 1
        try:
            self._switch()
        except BaseException:
            self.lost += 1
            raise
        try:
            self._take_in(frame)
        except Exception:
            # Memory is often asked for only by the first step of a larger shape.
            with contextlib.suppress(Exception):
                self.update(**self._proof.back(self._active))
            raise
        return self._taken()

    def _take_in(self, frame: Frame) -> None:
        config = self._active.config
        pixels = cover(frame.pixels, config.width, config.height)
        threshold = config.similarity_threshold
        if threshold is not None and self._filter.skip(pixels, threshold, config.max_skip):
            self._skip(frame)
            return
        if pixels is frame.pixels and config.frame_buffer_size > 1:
            pixels = pixels.copy()  # it waits, and the caller may use his array again
        self._newest = _Entry(frame.with_pixels(pixels))
        self._waiting.append(self._newest)
        if len(self._waiting) >= config.frame_buffer_size:
            self._enter()

    def flush(self) -> list[Frame]:
        """Finish every frame that is in, without new input; returns them in order.

        Raises:
            Exception: the model's own. What had finished comes out of the next call; what was lost is counted.
        """
        return flushed(self.drain(), self._put_back)

    def drain(self) -> Iterator[list[Frame]]:
        """As ``flush``, step by step: gives what came out after each."""
        self._check_open()
        if self._waiting:
            self._enter()
            yield self._taken()
        while self._batch.loads:
            self._advance()
            yield self._taken()
        if self._ready:
            yield self._taken()

    def update(self, /, **settings: Any) -> None:
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
        if self._active is not self._wanted:
            self._fusing.forget()
            self._proof.begin(self._wanted)
        self._active = self._wanted
        self._batch = self._new_batch()
        self._waiting = []
        self._ready = []
        self._newest = self._last = None
        self._filter.force()
        self._filter.seed(self._wanted.config.seed)
        self._calm.keep(self._wanted.config.calm)
        self._calm.forget()

    def close(self) -> None:
        """Let go of the engines and of all frames; the last stream of a model frees its memory."""
        self._conditioning = None
        self._waiting = []
        self._ready = []
        self._newest = self._last = None
        for name in ("_wanted", "_active", "_batch", "_reusing", "_fusing"):
            self.__dict__.pop(name, None)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._conditioning is None:
            raise ClosedError("this stream is closed; make a new one")

    def _prepare(self, config: StreamConfig, before: Setting | None) -> Setting:
        assert self._conditioning is not None
        return prepare(self.model, self.runtime, self._conditioning, config, before)

    def _new_batch(self) -> StreamBatch[list[_Entry]]:
        setting, model = self._active, self.model
        unet, shallow, every = setting.engines.unet, setting.engines.shallow, setting.config.reuse_every
        self._reusing = (
            None if shallow is None else ReusingUnet(unet, shallow, model.latent_channels, every, len(setting.plan))
        )
        return StreamBatch(
            self._reusing or unet, setting.plan, image_conditioned=model.image_conditioned, calm=self._calm
        )

    def _switch(self) -> None:
        """Make the wanted setting the active one; what this drains is made ready."""
        old, new = self._active, self._wanted
        if old is new:
            return
        renewed = (
            old.plan != new.plan or old.engines is not new.engines or old.config.reuse_every != new.config.reuse_every
        )
        try:
            # What waits for its buffer to fill went in under the old setting.
            if self._waiting:
                self._enter()
            while renewed and self._batch.loads:
                self._advance()
        except BaseException:
            if renewed:
                for entries in self._batch.loads:
                    self._lose(entries)
            raise
        finally:
            # Whatever happens: a size that does not fit the memory must not keep a smaller one from coming.
            self._active = new
            if new.load != old.load:
                self._proof.begin(new)
            if renewed:
                self._batch = self._new_batch()
                self._fusing.forget()
            self._filter.force()
            self._calm.keep(new.config.calm)
            if old.config.seed != new.config.seed:
                self._filter.seed(new.config.seed)
                if self._reusing is not None:
                    self._reusing.renew()

    def _enter(self) -> None:
        """Encode the frames that wait and push them into the first slot."""
        entries, self._waiting = self._waiting, []
        finished: tuple[Tensor, list[_Entry]] | None = None
        try:
            fused = self._fused(entries)
            if fused is None:
                if self._reusing is not None:
                    self._reusing.look(entries[-1].frame.pixels)
                pixels = torch.from_numpy(np.stack([entry.frame.pixels for entry in entries]))
                clean = self._active.engines.encoder(pixels.to(self.runtime.device))
                finished = self._batch.push(clean, self._active.terms, entries)
        except BaseException:
            self._lose(entries)
            raise
        if fused is not None:
            self._show(*fused)
        else:
            self._leave(finished)
        if len(entries) == self._active.config.frame_buffer_size:
            self._proof.ran(self._active)

    def _fused(self, entries: list[_Entry]) -> tuple[Pixels, list[_Entry]] | None:
        """Let frames in by the fused step and give what finished; None where there is none for this push."""
        setting, frames = self._active, len(entries)
        # A buffer let in before it is full (a still scene, the end) is another shape: not worth a recording.
        if frames != setting.config.frame_buffer_size:
            return None
        if self._reusing is not None or not self._batch.steady(setting.terms, frames):
            return None
        step = self._fusing.step(setting.engines, setting.plan, setting.config, setting.terms, frames)
        if step is None:
            return None
        pixels = [entry.frame.pixels for entry in entries]
        return self._batch.push_through(partial(step, pixels, setting.terms), setting.terms, entries)

    def _advance(self) -> None:
        self._leave(self._batch.step())

    def _leave(self, finished: tuple[Tensor, list[_Entry]] | None) -> None:
        """Decode what finished."""
        if finished is None:
            return
        latents, entries = finished
        try:
            # In memory as in shape, whatever the engine's own order: what takes pictures reads their bytes.
            pictures = cast("Pixels", self._active.engines.decoder(latents).contiguous().cpu().numpy())
        except BaseException:
            self._lose(entries)
            raise
        self._show(pictures, entries)

    def _show(self, pictures: Pixels, entries: list[_Entry]) -> None:
        """Make finished pictures [F, H, W, 3] ready; each frame is followed by those that repeat it."""
        # Shown again for every frame that is skipped: nobody may paint on it.
        pictures.flags.writeable = False
        for entry, picture in zip(entries, pictures, strict=True):
            entry.done = True
            self._last = picture
            self._ready.append(entry.frame.with_pixels(picture))
            self._ready += [frame.with_pixels(picture, repeated=True) for frame in entry.followers]

    def _lose(self, entries: list[_Entry]) -> None:
        """Count frames that will not come out; nothing may be compared with them or wait for them."""
        self.lost += sum(1 + len(entry.followers) for entry in entries)
        self._filter.force()
        if any(entry is self._newest for entry in entries):
            self._newest = None

    def _skip(self, frame: Frame) -> None:
        """Answer a frame that is not computed: repeat the last output, or first bring out what is still in."""
        self.skipped += 1
        if self._newest is None or self._newest.done:
            assert self._last is not None
            self._ready.append(frame.with_pixels(self._last, repeated=True))
            return
        self._newest.followers.append(frame)
        if self._waiting:
            self._enter()
        else:
            self._advance()

    def _put_back(self, frames: list[Frame]) -> None:
        self._ready = frames + self._ready

    def _taken(self) -> list[Frame]:
        ready, self._ready = self._ready, []
        return ready
