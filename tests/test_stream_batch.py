"""Stream Batch is a re-ordering of sequential denoising, nothing more (ALGORITHMS 1)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdiff.config import Guidance
from streamdiff.schedule import Plan, make_plan, slot_noise, strength_timesteps
from streamdiff.stream_batch import StreamBatch, Terms
from tests.reference import denoise
from tests.toy import CHANNELS, TEXT, Toy, alphas_cumprod, toy

MODES = st.sampled_from(list(Guidance))
SHAPE = (CHANNELS, 8, 8)


def text(seed: int) -> torch.Tensor:
    return torch.randn((1, *TEXT), generator=torch.Generator().manual_seed(seed))


def conditions(made: Toy, plan: Plan, seed: int) -> tuple[torch.Tensor, ...]:
    steps = torch.tensor(plan.timesteps)
    return made.unet.condition(steps, text(seed).expand(len(steps), -1, -1)).detach().split(1)


def latents(count: int, seed: int) -> torch.Tensor:
    return torch.randn((count, *SHAPE), generator=torch.Generator().manual_seed(seed)) * 0.7


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 4),
    buffers=st.integers(1, 3),
    pushes=st.integers(1, 6),
    mode=MODES,
    prediction=st.sampled_from(["epsilon", "v_prediction", "sample"]),
    conditioned=st.booleans(),
    scale=st.sampled_from([0.0, 0.6, 1.0, 1.4, 3.0]),
    delta=st.sampled_from([0.0, 0.5, 1.0]),
    strength=st.floats(0.15, 1.0),
    seed=st.integers(0, 50),
)
def test_equals_sequential_denoising(
    n, buffers, pushes, mode, prediction, conditioned, scale, delta, strength, seed
) -> None:
    made = toy(prediction, conditioned, seed)
    plan = make_plan(strength_timesteps(strength, n), alphas_cumprod(), prediction)
    noise = slot_noise(seed, plan, SHAPE)
    used = mode if scale > 1 else Guidance.none
    batch: StreamBatch[int] = StreamBatch(made.unet.predict, plan, image_conditioned=conditioned)
    outputs: list[tuple[torch.Tensor, int]] = []
    with torch.inference_mode():
        for k in range(pushes):
            # Each push under terms of its own: a frame keeps those it entered with.
            terms = Terms(conditions(made, plan, k), conditions(made, plan, 100 + k), noise, used, scale, delta)
            finished = batch.push(latents(buffers, k), terms, k)
            assert (finished is None) == (k < n - 1)
            outputs += [finished] if finished else []
        while batch.loads:
            finished = batch.step()
            outputs += [finished] if finished else []
        assert [load for _, load in outputs] == list(range(pushes))
        for clean, k in outputs:
            assert clean.shape == (buffers, *SHAPE)
            for f in range(buffers):
                expected = denoise(
                    made.unet, alphas_cumprod(), list(plan.timesteps), prediction, latents(buffers, k)[f : f + 1],
                    noise, text(k), text(100 + k), mode.value, scale, delta, conditioned,
                )  # fmt: skip
                # Both are fp32; high guidance multiplies the rounding with the size of the numbers.
                tolerance = 1e-4 * max(1.0, float(expected.abs().max()))
                assert float((clean[f : f + 1] - expected).abs().max()) <= tolerance


@pytest.mark.parametrize(
    ("mode", "rows"),
    [(Guidance.none, 3), (Guidance.full, 6), (Guidance.self_negative, 3), (Guidance.onetime_negative, 4)],
)
def test_rows_of_a_full_pipeline(mode: Guidance, rows: int) -> None:
    made = toy()
    plan = make_plan(strength_timesteps(0.7, 3), alphas_cumprod(), "epsilon")
    terms = Terms(conditions(made, plan, 0), conditions(made, plan, 1), slot_noise(0, plan, SHAPE), mode, 2.0, 1.0)
    batch: StreamBatch[None] = StreamBatch(made.unet.predict, plan)
    for k in range(5):
        batch.push(latents(1, k), terms, None)
    assert made.unet.calls[-1] == rows
    assert len(made.unet.calls) == 5  # one call a push


def test_an_empty_slot_is_never_evaluated() -> None:
    made = toy()
    plan = make_plan(strength_timesteps(0.7, 4), alphas_cumprod(), "epsilon")
    terms = Terms(conditions(made, plan, 0), conditions(made, plan, 1), slot_noise(0, plan, SHAPE))
    batch: StreamBatch[int] = StreamBatch(made.unet.predict, plan)
    assert batch.step() is None
    batch.push(latents(2, 0), terms, 0)
    for _ in range(2):
        assert batch.step() is None
    finished = batch.step()
    assert finished is not None and finished[1] == 0
    assert made.unet.calls == [2, 2, 2, 2]


def test_a_failing_step_loses_only_the_frame_that_entered() -> None:
    made = toy()
    plan = make_plan(strength_timesteps(0.7, 2), alphas_cumprod(), "epsilon")
    terms = Terms(conditions(made, plan, 0), conditions(made, plan, 1), slot_noise(0, plan, SHAPE))
    fail = False

    def unet(*inputs: torch.Tensor) -> torch.Tensor:
        if fail:
            raise RuntimeError("no")
        return made.unet.predict(*inputs)

    batch: StreamBatch[int] = StreamBatch(unet, plan)
    batch.push(latents(1, 0), terms, 0)
    fail = True
    with pytest.raises(RuntimeError):
        batch.push(latents(1, 1), terms, 1)
    fail = False
    finished = batch.push(latents(1, 2), terms, 2)
    assert finished is not None and finished[1] == 0
    finished = batch.step()
    assert finished is not None and finished[1] == 2


@pytest.mark.parametrize("mode", list(Guidance))
def test_one_step_stays_stable_on_a_still_input(mode: Guidance) -> None:
    """The original's one-step self-negative guidance grows from 1.05 to 18 in six frames."""
    made = toy()
    plan = make_plan([499], alphas_cumprod(), "epsilon")
    terms = Terms(conditions(made, plan, 0), conditions(made, plan, 1), slot_noise(0, plan, SHAPE), mode, 1.5, 1.0)
    batch: StreamBatch[None] = StreamBatch(made.unet.predict, plan)
    z = latents(1, 0)
    with torch.inference_mode():
        first = batch.push(z, terms, None)
        for _ in range(2000):
            last = batch.push(z, terms, None)
    assert first is not None and last is not None
    assert torch.equal(first[0], last[0])
