"""The stream on a CUDA device: the same pictures as on the CPU, and shared with nothing on the host."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streamdiff import Frame, Stream
from streamdiff.models.load import TINY
from tests.toy import picture

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
    pytest.mark.skipif(not (TINY / "model_index.json").is_file(), reason="the embedded model's weights are not there"),
]


@pytest.mark.parametrize("settings", [{}, {"steps": 3}, {"steps": 2, "guidance": "onetime", "guidance_scale": 1.5}])
def test_agrees_with_the_cpu(settings: dict[str, object]) -> None:
    pictures: list[np.ndarray] = []
    for device in ("cpu", "cuda"):
        stream = Stream.from_pretrained("tiny", engine="torch", device=device, prompt="neon", **settings)
        finished = stream.push(Frame(picture(0, 256, 256))) + stream.flush()
        pictures.append(finished[0].pixels.astype(float))
    # Half precision in between: about two levels.
    assert float(np.abs(pictures[0] - pictures[1]).mean()) < 2


def test_cuda_is_chosen_by_itself() -> None:
    stream = Stream.from_pretrained("tiny")
    assert stream.runtime.device.type == "cuda"
    assert stream(picture(0, 256, 256)).shape == (256, 256, 3)
