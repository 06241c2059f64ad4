"""What the tests on a GPU share."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from engines import compiled


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """An engine cache of their own, torch.compile's kernels included."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("STREAMDIFF_CACHE", str(folder))
        patch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
        compiled.require.cache_clear()
        yield folder


@pytest.fixture(autouse=True)
def exact_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """References in float32 are to be float32: convolutions keep 10 bits of each number otherwise."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
