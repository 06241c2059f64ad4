"""torch.compile for one network, on the CPU: how often, where it is kept, and what a failure says."""

from __future__ import annotations

import gc
import os
import shutil
import weakref
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from engines import EngineError, Network
from engines.base import Input
from engines.compiled import compiled, keep_on_disk, require
from engines.cuda_engine import CudaEngine
from tests.engines import toys
from tests.engines.fake_graphs import FakeGraphs

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="no C++ compiler, which torch.compile needs"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREAMDIFF_CACHE", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    return tmp_path / "engines" / "inductor"


@needs_compiler
def test_compiled_twice_at_most_and_kept_on_disk(cache: Path) -> None:
    import torch._dynamo.utils as dynamo

    keep_on_disk()
    network, graphs = toys.small(), FakeGraphs(taped=False)
    module = network.build().eval().requires_grad_(False)
    alive = weakref.ref(module)
    made = CudaEngine(compiled(module, network), network, CPU, graphs)
    before = dynamo.counters["stats"]["unique_graphs"]
    for batch in (1, 2, 3, 4, 1):
        inputs = toys.random_inputs(network, batch)
        assert toys.difference(made(*inputs), toys.expected(network, inputs)) < 1e-6
    fixed = toys.random_inputs(network, 2)
    graphs.record(partial(made, *fixed))
    # The first batch size, and any other; no more for a larger recording.
    assert dynamo.counters["stats"]["unique_graphs"] - before == 2
    assert any(path.is_file() for path in cache.rglob("*"))
    del made, module
    gc.collect()
    assert alive() is None


@needs_compiler
def test_equal_code_of_other_sizes_does_not_count(cache: Path) -> None:
    """Dynamo gives up on a function after some, and then runs it eagerly."""
    import torch._dynamo.utils as dynamo

    keep_on_disk()
    for size in (4, 5, 6):
        network = Network("sum", f"sum {size}", (Input("x", (size,), torch.float32),), nn.ReLU)
        before = dynamo.counters["stats"]["unique_graphs"]
        function = compiled(network.build(), network)
        with torch._dynamo.config.patch(recompile_limit=2), torch.inference_mode():
            for batch in (1, 2):
                assert torch.equal(function(torch.ones(batch, size)), torch.ones(batch, size))
        assert dynamo.counters["stats"]["unique_graphs"] - before == 2


def test_the_users_own_place_for_kernels_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    keep_on_disk()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "elsewhere"


def test_a_compiler_that_is_missing_is_found_out_at_the_start(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config

    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "no-such-compiler"))
    require.cache_clear()
    with torch._inductor.config.patch("force_disable_caches", True), pytest.raises(EngineError) as caught:
        require(CPU)
    text = str(caught.value)
    assert "--engine torch runs without" in text and "compiler" in text.lower() and "\n" not in text
