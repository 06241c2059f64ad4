"""Stream: every setting live at any moment; none lost, none repeated, in order; never a mixed frame."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdiff import ClosedError, ConfigError, Frame, Guidance, PictureError, Stream, StreamConfig
from streamdiff.picture import cover
from streamdiff.schedule import plan_of, slot_noise
from tests.reference import denoise
from tests.toy import SIZE, Toy, ToyDecoder, ToyEncoder, ToyText, frames, picture, tokenize, toy

CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.sampled_from(["a", "b", "c"]),
        "second_prompt": st.sampled_from(["d", "e"]),
        "blend": st.sampled_from([0.0, 0.3, 1.0]),
        "negative_prompt": st.sampled_from(["", "x", "y"]),
        "strength": st.sampled_from([0.2, 0.5, 0.9]),
        "steps": st.integers(1, 4),
        "guidance": st.sampled_from(list(Guidance)),
        "guidance_scale": st.sampled_from([0.5, 1.0, 1.6]),
        "delta": st.sampled_from([0.0, 1.0]),
        "seed": st.integers(0, 3),
        "frame_buffer_size": st.integers(1, 3),
        "width": st.sampled_from([64, 72]),
        "timesteps": st.sampled_from([None, (700, 300)]),
    },
)


def expected_pixels(made: Toy, config: StreamConfig, frame: Frame) -> np.ndarray:
    """What sequential denoising of this frame alone, under this configuration, gives."""
    model = made.model
    plan = plan_of(config, model.alphas_cumprod, model.prediction)
    noise = slot_noise(config.seed, plan, model.latent_shape(config.width, config.height))
    pixels = torch.from_numpy(cover(frame.pixels, config.width, config.height))[None]
    embed = ToyText()
    with torch.inference_mode():
        first, second = embed(tokenize(config.prompt)), embed(tokenize(config.second_prompt))
        text = first + config.blend * (second - first)
        clean = denoise(
            made.unet, model.alphas_cumprod, list(plan.timesteps), model.prediction, ToyEncoder()(pixels), noise,
            text, embed(tokenize(config.negative_prompt)), config.guidance.value,
            config.guidance_scale, config.delta, model.image_conditioned,
        )  # fmt: skip
        return ToyDecoder()(clean)[0].numpy()


@settings(max_examples=40, deadline=None)
@given(
    start=CHANGES,
    script=st.lists(st.tuples(st.integers(0, 4), CHANGES), min_size=1, max_size=5),
    prediction=st.sampled_from(["epsilon", "v_prediction", "sample"]),
    conditioned=st.booleans(),
)
def test_any_change_at_any_moment(start, script, prediction, conditioned) -> None:
    made = toy(prediction, conditioned)
    stream = made.stream(**start)
    entered: list[tuple[Frame, StreamConfig]] = []
    finished: list[Frame] = []
    for pushes, change in script:
        for _ in range(pushes):
            frame = Frame(picture(len(entered), 80, 64), pts=len(entered) / 30, captured=1.0 * len(entered))
            frame = replace(frame, index=len(entered), tag=f"tag {len(entered)}")
            entered.append((frame, stream.config))
            finished += stream.push(frame)
        stream.update(**change)
    finished += stream.flush()
    assert stream.in_flight == 0
    assert [f.index for f in finished] == list(range(len(entered)))
    for out, (frame, config) in zip(finished, entered, strict=True):
        assert (out.pts, out.captured, out.tag, out.repeated) == (frame.pts, frame.captured, frame.tag, False)
        expected = expected_pixels(made, config, frame)
        assert out.pixels.shape == expected.shape == (config.height, config.width, 3)
        # One level: a value that lies between two is rounded either way by the last bit of fp32.
        assert int(np.abs(out.pixels.astype(int) - expected.astype(int)).max()) <= 1


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("buffer", [1, 2, 3])
def test_nothing_comes_out_before_it_is_real(n: int, buffer: int) -> None:
    stream = toy().stream(steps=n, frame_buffer_size=buffer)
    counts = [len(stream.push(frame)) for frame in frames(12)]
    lag = n * buffer - 1
    assert counts[:lag] == [0] * lag
    assert counts[lag] == buffer
    assert sum(counts) + len(stream.flush()) == 12
    assert stream.flush() == []


def test_same_seed_same_output_and_the_global_generator_is_untouched() -> None:
    made = toy()
    torch.manual_seed(1)
    before, before_numpy = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    options = {"steps": 2, "seed": 11, "similarity_threshold": 0.5}
    runs = [[f.pixels for i in range(6) for f in s.push(frames(6)[i])] for s in [made.stream(**options) for _ in "ab"]]
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))
    other = made.stream(**{**options, "seed": 12})
    assert not all(
        np.array_equal(a, f.pixels) for a, i in zip(runs[0], range(6), strict=False) for f in other.push(frames(6)[i])
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(before_numpy, np.random.get_state()[1])


@pytest.mark.parametrize("mode", list(Guidance))
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_no_guidance_costs_no_negative_evaluation(mode: Guidance, scale: float) -> None:
    made = toy()
    plain = made.stream(steps=2)
    guided = made.stream(steps=2, guidance=mode, guidance_scale=scale, negative_prompt="bad")
    made.unet.calls.clear()
    a = [f.pixels for frame in frames(4) for f in plain.push(frame)]
    calls = list(made.unet.calls)
    made.unet.calls.clear()
    b = [f.pixels for frame in frames(4) for f in guided.push(frame)]
    assert made.unet.calls == calls
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("mode", [m for m in Guidance if m is not Guidance.none])
def test_the_negative_prompt_has_an_effect_where_it_should(mode: Guidance) -> None:
    made = toy()
    outs = [
        made.stream(steps=2, guidance=mode, guidance_scale=2.0, negative_prompt=negative)
        for negative in ("", "something else")
    ]
    pictures = []
    for stream in outs:
        stream.push(frames(1)[0])
        pictures.append(stream.flush()[0].pixels)
    same = np.array_equal(*pictures)
    assert same == (mode is Guidance.self_negative)  # its negative is the frame itself


def test_bright_frames_stay_bright() -> None:
    """The original normalised bright pictures twice."""
    white = np.full((64, 64, 3), 255, np.uint8)
    almost = np.full((64, 64, 3), 254, np.uint8)
    made = toy()
    a, b = made.stream(strength=0.05)(white), made.stream(strength=0.05)(almost)
    assert int(np.abs(a.astype(int) - b.astype(int)).max()) <= 3


def test_calls_return_the_kind_they_were_given() -> None:
    from PIL import Image

    stream = toy().stream()
    array = picture(0)
    out = stream(array)
    assert out.dtype == np.uint8 and out.shape == (64, 64, 3)
    image = stream(Image.fromarray(array))
    assert isinstance(image, Image.Image) and np.array_equal(np.asarray(image), out)
    tensor = stream(torch.from_numpy(array).permute(2, 0, 1).float() / 255)
    assert tensor.shape == (3, 64, 64) and tensor.dtype == torch.float32
    assert np.array_equal((tensor * 255).round().byte().permute(1, 2, 0).numpy(), out)
    assert toy().stream(steps=2)(array) is None


def test_a_refused_change_changes_nothing() -> None:
    stream = toy().stream(prompt="a")
    config = stream.config
    for bad in ({"strength": float("nan")}, {"steps": 0}, {"width": 100}, {"promt": "x"}, {"timesteps": (1, 5)}):
        with pytest.raises(ConfigError) as caught:
            stream.update(prompt="b", **bad)
        assert "\n" not in str(caught.value)
        assert stream.config is config
    assert stream(picture(0)) is not None


def test_a_network_that_cannot_be_built_leaves_the_old_size_running(monkeypatch: pytest.MonkeyPatch) -> None:
    made = toy()
    stream = made.stream()
    before = stream(picture(0))

    def fail(*_: object) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr(made.runtime, "compile", fail, raising=False)
    with pytest.raises(MemoryError):
        stream.update(width=128, prompt="other")
    assert stream.config.width == 64
    assert np.array_equal(stream(picture(0)), before)


def test_nobody_can_paint_on_what_is_shown_again() -> None:
    stream = toy().stream(similarity_threshold=0.0, max_skip=100)
    first = stream(picture(0))
    kept = first.copy()
    first[:] = 7
    assert np.array_equal(stream(picture(0)), kept)
    (frame,) = stream.push(Frame(picture(0)))
    with pytest.raises(ValueError, match="read-only"):
        frame.pixels[:] = 7


def test_an_array_that_is_filled_again_while_it_waits() -> None:
    stream, plain = toy().stream(frame_buffer_size=2), toy().stream()
    buffer = picture(0).copy()
    stream.push(Frame(buffer))
    buffer[:] = picture(1)
    first, second = stream.push(Frame(buffer))
    assert np.abs(first.pixels.astype(int) - plain(picture(0)).astype(int)).max() <= 1
    assert np.abs(second.pixels.astype(int) - plain(picture(1)).astype(int)).max() <= 1


@pytest.mark.parametrize(
    "bad", [np.zeros((64, 64, 3)), np.zeros((64, 64), np.uint8), np.zeros((0, 9, 3), np.uint8), None]
)
def test_a_frame_of_the_wrong_kind_is_refused(bad: object) -> None:
    with pytest.raises(PictureError, match="uint8"):
        toy().stream().push(Frame(bad))  # type: ignore[arg-type]


def test_a_changed_prompt_survives_a_reset() -> None:
    """In the original a reset brings the first prompt back."""
    stream = toy().stream(prompt="first")
    stream.update(prompt="second")
    want = stream(picture(0))
    stream.reset()
    assert stream.config.prompt == "second"
    assert np.array_equal(stream(picture(0)), want)


def test_two_streams_share_weights_and_nothing_else() -> None:
    made = toy()
    a, b = made.stream(steps=2, prompt="a"), made.stream(steps=2, prompt="b")
    assert a.engines.unet is b.engines.unet
    alone = made.stream(steps=2, prompt="a")
    mixed: list[np.ndarray] = []
    for i, frame in enumerate(frames(5)):
        mixed += [f.pixels for f in a.push(frame)]
        b.push(frames(5, seed=9)[i])
    assert all(
        np.array_equal(x, y)
        for x, y in zip(mixed, [f.pixels for frame in frames(5) for f in alone.push(frame)], strict=True)
    )


def test_closing_gives_everything_back() -> None:
    made = toy()
    stream = made.stream()
    stream(picture(0))
    engine = weakref.ref(stream.engines.unet)
    stream.close()
    stream.close()
    gc.collect()
    assert engine() is None
    for use in (lambda: stream(picture(0)), lambda: stream.update(prompt="x"), stream.flush, lambda: stream.config):
        with pytest.raises(ClosedError):
            use()


def test_prompts_are_embedded_once() -> None:
    made = toy()
    stream = made.stream(prompt="a")
    calls: list[str] = []
    assert stream._conditioning is not None
    prompts = stream._conditioning.prompts
    tokenizer = made.model.tokenize

    def counted(text: str) -> torch.Tensor:
        calls.append(text)
        return tokenizer(text)

    prompts._model = replace(made.model, tokenize=counted)
    for prompt in ("b", "a", "b", "a", ""):
        stream.update(prompt=prompt)
        stream(picture(0))
    assert calls == ["b", ""]
    for i in range(100):
        stream.update(prompt=str(i))
    assert len(prompts._kept) <= 64


def test_a_text_to_picture_seed_has_an_effect() -> None:
    """The original ignores the seed when it starts from noise."""
    made = toy()
    assert not np.array_equal(
        made.stream(strength=1.0, seed=1)(picture(0)), made.stream(strength=1.0, seed=2)(picture(0))
    )


def test_from_pretrained_takes_a_model() -> None:
    stream = Stream.from_pretrained(toy().model, engine="torch", device="cpu", prompt="x")
    assert (stream.config.width, stream.config.height) == (SIZE["width"], SIZE["height"])
    assert stream(picture(0)).shape == (64, 64, 3)
    with pytest.raises(ConfigError, match="give them to load_model"):
        Stream.from_pretrained(toy().model, engine="torch", device="cpu", lora="x.safetensors")


def test_pictures_lie_in_memory_as_their_shape_says() -> None:
    """Virtual cameras, windows and memory views read bytes."""
    out = toy().stream().push(Frame(picture(0)))
    assert out[0].pixels.flags.c_contiguous
