"""Plans in the cache: named by all that changes them, built once however many want them, never used when damaged."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines import Input, Network
from engines.tensorrt import Profile, TensorRTRuntime, plans
from engines.tensorrt import binding as bindings
from engines.tensorrt import runtime as runtimes
from engines.tensorrt.binding import Binding, Card
from engines.tensorrt.builder import Plan
from tests.engines import toys

PLAN = Plan(b"plan", 3, {"HALF": 2, "FLOAT": 1}, {"a.weight": (2, 3)})
CARD = Card("a card", (8, 9), "13.0")


def test_a_plan_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "unet-0.plan"
    assert plans.read(path) is None
    assert plans.kept(path, "a network", lambda: PLAN) == PLAN
    assert plans.read(path) == PLAN
    assert plans.kept(path, "a network", lambda: pytest.fail("built again")) == PLAN
    assert '"about": "a network"' in plans.facts_file(path).read_text()


@pytest.mark.parametrize("damage", [b"", b"plaN", b"plan and more"])
def test_a_damaged_plan_is_built_again(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "unet-0.plan"
    plans.kept(path, "", lambda: PLAN)
    path.write_bytes(damage)
    new = replace(PLAN, data=b"new")
    assert plans.kept(path, "", lambda: new) == new
    assert "damaged" in caplog.text and plans.read(path) == new


@pytest.mark.parametrize("facts", [None, "", "[]", "{}", '{"sha256": 1}', '{"weights": []}'])
def test_a_plan_without_its_facts_is_built_again(tmp_path: Path, facts: str | None) -> None:
    path = tmp_path / "unet-0.plan"
    plans.kept(path, "", lambda: PLAN)
    plans.facts_file(path).unlink() if facts is None else plans.facts_file(path).write_text(facts)
    assert plans.read(path) is None
    assert plans.kept(path, "", lambda: PLAN) == PLAN == plans.read(path)


def test_a_failed_build_leaves_nothing_and_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "unet-0.plan"

    def fail() -> Plan:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plans.kept(path, "", fail)
    assert plans.read(path) is None
    assert plans.kept(path, "", lambda: PLAN) == PLAN


def test_a_cache_that_cannot_be_written_is_said_and_not_fatal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert plans.kept(tmp_path / "file" / "unet-0.plan", "", lambda: PLAN) == PLAN
    assert "cannot be written" in caplog.text


WANT = """
import sys, time
from pathlib import Path
from engines.tensorrt import plans
from engines.tensorrt.builder import Plan

folder, me = Path(sys.argv[1]), sys.argv[2]

def make():
    (folder / f"built by {me}").touch()
    deadline = time.monotonic() + 60
    while len(list(folder.glob("here *"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    # The other one is about to ask; it is given the time to.
    time.sleep(0.5)
    return Plan(me.encode(), 1, {}, {})

(folder / f"here {me}").touch()
print(plans.kept(folder / "unet-0.plan", "", make).data.decode())
"""


def test_two_processes_that_want_one_plan_build_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(WANT), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True, env=environment) for name in ("a", "b")
    ]
    got = {process.communicate(timeout=120)[0].strip() for process in processes}
    (built,) = (path.name.removeprefix("built by ") for path in tmp_path.glob("built by *"))
    assert got == {built}


def test_threads_that_want_one_plan_build_it_once(tmp_path: Path) -> None:
    builds: list[int] = []

    def make() -> Plan:
        builds.append(1)
        time.sleep(0.2)
        return PLAN

    got: list[Plan] = []
    threads = [
        threading.Thread(target=lambda: got.append(plans.kept(tmp_path / "unet-0.plan", "", make))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [PLAN] * 3 and builds == [1]


@pytest.fixture
def make_runtime(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes runtimes of any package version and card, none of which is there."""

    def make(flavour: Any = "tensorrt", version: str = "11.0", card: Card = CARD, **settings: Any) -> TensorRTRuntime:
        monkeypatch.setattr(bindings, "load", lambda wanted: Binding(flavour, None, version, None, []))
        monkeypatch.setattr(bindings, "check_cuda", lambda flavour: None)
        monkeypatch.setattr(bindings, "card", lambda flavour, device: card)
        return TensorRTRuntime("cuda:0", **settings)

    return make


def test_everything_that_changes_a_plan_changes_its_file(make_runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unet = toys.unet()
    wider = Input("latent", (4, 8, 16), unet.inputs[0].dtype)
    files = [
        make_runtime().plan_file(unet, 1),
        make_runtime().plan_file(unet, 2),
        make_runtime().plan_file(replace(unet, key="other weights"), 1),
        make_runtime().plan_file(replace(unet, inputs=(wider, *unet.inputs[1:])), 1),
        make_runtime().plan_file(replace(unet, name="other"), 1),
        make_runtime(precision="fp32").plan_file(unet, 1),
        make_runtime(refittable=True).plan_file(unet, 1),
        make_runtime(profile=Profile(1, 1, 4)).plan_file(unet, 1),
        make_runtime(profile=Profile(1, 2, 4)).plan_file(unet, 1),
        make_runtime("tensorrt-rtx").plan_file(unet, 1),
        make_runtime(version="11.1").plan_file(unet, 1),
        make_runtime(card=replace(CARD, name="another card")).plan_file(unet, 1),
        make_runtime(card=replace(CARD, capability=(12, 0))).plan_file(unet, 1),
        make_runtime(card=replace(CARD, driver="13.1")).plan_file(unet, 1),
    ]
    monkeypatch.setattr(runtimes, "FORMAT", -1)
    files.append(make_runtime().plan_file(unet, 1))
    monkeypatch.setattr(runtimes, "FORMAT", 1)
    monkeypatch.setattr(runtimes, "version", lambda package: "0")
    files.append(make_runtime().plan_file(unet, 1))
    assert len(set(files)) == len(files)


def test_nothing_else_does(make_runtime: Any) -> None:
    runtime = make_runtime()
    assert runtime.plan_file(toys.unet(), 1) == make_runtime(progress=print).plan_file(toys.unet(), 1)
    profiled = make_runtime(profile=Profile(1, 2, 4))
    assert profiled.plan_file(toys.unet(), 1) == profiled.plan_file(toys.unet(), 3)
    # Only the UNet is built to be refitted, in all its forms.
    refitting = make_runtime(refittable=True)
    assert runtime.plan_file(toys.decoder(), 1) == refitting.plan_file(toys.decoder(), 1)
    for name in ("unet", "unet-deep", "unet-shallow"):
        network = replace(toys.unet(), name=name)
        assert runtime.plan_file(network, 1) != refitting.plan_file(network, 1)


def test_a_description_tells_engines_apart_that_may_not_be_shared(make_runtime: Any) -> None:
    runtimes = [
        make_runtime(),
        make_runtime(precision="fp32"),
        make_runtime(refittable=True),
        make_runtime(profile=Profile(1, 2, 4)),
        make_runtime("tensorrt-rtx"),
        make_runtime(version="11.1"),
    ]
    said = [runtime.description for runtime in runtimes]
    assert said[0] == "tensorrt 11.0, fp16, a card (cuda:0)"
    assert len(set(said)) == len(said)


def test_what_runs_once_a_prompt_stays_with_pytorch_in_float32(make_runtime: Any) -> None:
    runtime = make_runtime()
    runtime.device = "cpu"
    network = Network("text", "text", toys.decoder().inputs, toys.decoder().build, exact=True)
    inputs = toys.random_inputs(network, 1)
    got = runtime.compile(network)(*inputs)
    assert toys.difference(got, toys.expected(network, inputs)) == 0
