"""The house: apps -> streamdiff -> engines, never backwards; and importing the library costs next to nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "engines": {"engines"},
    "streamdiff": {"streamdiff", "engines"},
    "apps": {"apps", "streamdiff", "engines"},
}
OURS = {"engines", "streamdiff", "apps", "scripts", "tests"}


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_dependencies_run_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            wrong = {name.split(".")[0] for name in names} & OURS - MAY_IMPORT[package]
            assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_importing_the_library_loads_nothing_heavy() -> None:
    code = "import sys, streamdiff; print([m for m in ('torch', 'numpy', 'cv2', 'openvino', 'av') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    import streamdiff

    for name in streamdiff.__all__:
        assert getattr(streamdiff, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = streamdiff.nonsense
