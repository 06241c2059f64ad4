"""A filter for one's camera tells nobody anything: OpenVINO and NNCF are kept from reporting their use."""

from __future__ import annotations

import sys


def no_telemetry() -> None:
    """To be called before either is imported.

    Both go without where the package ``openvino_telemetry`` cannot be imported, which is the way they leave open.
    """
    if "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # pyright: ignore[reportArgumentType]
