"""Schedules agree with diffusers' LCMScheduler, and hold for every strength and number of steps."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamdiff.config import StreamConfig
from streamdiff.errors import ConfigError
from streamdiff.schedule import add_noise, make_plan, plan_of, predict_clean, slot_noise, strength_timesteps, to_epsilon
from tests.toy import alphas_cumprod


@given(strength=st.floats(0.001, 1.0), steps=st.integers(1, 8))
def test_timesteps_fall_within_the_schedule(strength: float, steps: int) -> None:
    taus = strength_timesteps(strength, steps)
    assert len(taus) == steps
    assert all(a > b for a, b in pairwise(taus))
    assert taus[-1] >= 0 and taus[0] <= 999
    assert taus[0] == max(steps, round(strength * 1000)) - 1


def test_more_strength_is_more_noise() -> None:
    firsts = [strength_timesteps(s / 20, 2)[0] for s in range(1, 21)]
    assert firsts == sorted(set(firsts))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("taus", [[999], [499, 249], [900, 600, 300, 7]])
def test_step_equals_lcm_scheduler(prediction: str, taus: list[int]) -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.LCMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction, clip_sample=False
    )
    scheduler.set_timesteps(timesteps=taus, original_inference_steps=50)
    plan = make_plan(taus, scheduler.alphas_cumprod, prediction)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(3)
    noise = slot_noise(0, plan, (4, 8, 8))
    x = torch.randn(1, 4, 8, 8, generator=generator)
    for i, tau in enumerate(scheduler.timesteps):
        output = torch.randn(1, 4, 8, 8, generator=generator)
        expected = scheduler.step(output, tau, x, generator=torch.Generator().manual_seed(i))
        clean = predict_clean(plan, i, x, to_epsilon(plan, i, x, output))
        torch.testing.assert_close(clean, expected.denoised, atol=2e-5, rtol=1e-4)
        if i + 1 < len(taus):
            drawn = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(i))
            moved = add_noise(plan, i + 1, clean, drawn[0])
            torch.testing.assert_close(moved, expected.prev_sample, atol=2e-5, rtol=1e-4)
            x = add_noise(plan, i + 1, clean, noise[i + 1])


def test_noise_comes_from_the_seed_alone() -> None:
    plan2 = make_plan([499, 249], alphas_cumprod(), "epsilon")
    plan4 = make_plan([800, 600, 400, 200], alphas_cumprod(), "epsilon")
    before = torch.random.get_rng_state()
    a, b = slot_noise(5, plan2, (4, 8, 8)), slot_noise(5, plan4, (4, 8, 8))
    assert torch.equal(a, b[:2])
    assert not torch.equal(a[0], a[1])
    assert not torch.equal(a, slot_noise(6, plan2, (4, 8, 8)))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_timestep_beyond_the_schedule_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 to 99"):
        make_plan([500], alphas_cumprod()[:100], "epsilon")


def test_raw_timesteps_take_the_place_of_strength_and_steps() -> None:
    config = StreamConfig.make(timesteps=[800, 400, 100], steps=1, strength=0.2)
    assert plan_of(config, alphas_cumprod(), "epsilon").timesteps == (800, 400, 100)
    assert len(plan_of(StreamConfig.make(steps=2), alphas_cumprod(), "epsilon")) == 2
