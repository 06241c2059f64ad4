"""StreamConfig: bounds, one-line errors, all of them at once."""

from __future__ import annotations

import math

import pytest

from streamdiff import ConfigError, Guidance, StreamConfig


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("strength", math.nan, "strength"), ("strength", math.inf, "strength"), ("strength", 0, "greater than 0"),
        ("strength", 1.01, "less than or equal to 1"), ("strength", "much", "strength"), ("steps", 0, "steps"),
        ("steps", 9, "less than or equal to 8"), ("steps", 1.5, "steps"), ("guidance_scale", -1, "guidance_scale"),
        ("guidance_scale", math.nan, "guidance_scale"), ("delta", -0.1, "delta"), ("seed", -1, "seed"),
        ("seed", 2**63, "seed"), ("width", 100, "multiple of 8 (nearest: 96)"), ("height", 0, "height"),
        ("width", 10**9, "width"), ("similarity_threshold", 1.0, "similarity_threshold"),
        ("similarity_threshold", math.nan, "similarity_threshold"), ("max_skip", 0, "max_skip"),
        ("guidance", "strong", "none"), ("frame_buffer_size", 0, "frame_buffer_size"), ("timesteps", (), "timesteps"),
        ("timesteps", (1, 2), "smaller than the one before"), ("timesteps", (1000,), "999"), ("prompt", None, "prompt"),
        ("prompt", 3, "prompt"), ("colour", "red", "unknown setting 'colour'"),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused_in_one_line(setting: str, value: object, says: str) -> None:
    for make in (lambda: StreamConfig.make(**{setting: value}), lambda: StreamConfig().changed(**{setting: value})):
        with pytest.raises(ConfigError) as caught:
            make()
        message = str(caught.value)
        assert says in message and "\n" not in message and len(message) < 400


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"strength.*steps"):
        StreamConfig.make(strength=2, steps=0)


def test_a_scale_of_one_or_less_is_no_guidance() -> None:
    for scale in (0, 0.5, 1):
        assert StreamConfig.make(guidance="full", guidance_scale=scale).guidance_in_use is Guidance.none
    assert StreamConfig.make(guidance="full", guidance_scale=1.01).guidance_in_use is Guidance.full


def test_a_change_gives_a_new_configuration() -> None:
    config = StreamConfig()
    assert config.changed(prompt="x").prompt == "x"
    assert config.prompt == ""
    assert config.changed() == config


def test_raw_timesteps_give_way_to_a_new_strength_or_number_of_steps() -> None:
    raw = StreamConfig.make(timesteps=(700, 300))
    assert raw.changed(prompt="x").timesteps == (700, 300)
    assert raw.changed(strength=0.2).timesteps is None and raw.changed(steps=3).timesteps is None
    assert raw.changed(strength=0.2, timesteps=(500,)).timesteps == (500,)
