"""Eight bits for OpenVINO: post-training quantisation by NNCF, calibrated on what the network is really given.

The activations' ranges move with the timestep (PTQ4DM, arXiv 2211.15736), so the samples have to cover every timestep
that will be used; and errors in the timestep's embedding cost most (TFMQ-DM, arXiv 2311.16503): here that path is not
in the network at all, its results are an input.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

from torch import Tensor

from engines.errors import EngineError
from engines.root_logger import root_logger_kept

Sample = tuple[Tensor, ...]
"""One row of a network's inputs, each [1, *shape]."""


def require_nncf() -> None:
    """Make sure that quantisation is possible here.

    Raises:
        EngineError: NNCF is not installed.
    """
    if importlib.util.find_spec("nncf") is None:
        raise EngineError("nncf, which quantises to int8, is not installed; pip install 'streamdiff[int8]'")


def quantised(graph: Any, samples: Sequence[Sample]) -> Any:
    """An OpenVINO model with 8-bit weights and activations.

    Args:
        graph: ``openvino.Model``, float32; it is used up.
        samples: what the activations' ranges are taken from; all of them are run.

    Raises:
        EngineError: NNCF is not installed, or it failed.
    """
    require_nncf()
    with root_logger_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nncf
        from nncf.common.logging.logger import set_log_level

        set_log_level(40)  # errors: its progress and advice are for its own users
        data = nncf.Dataset([tuple(tensor.numpy() for tensor in sample) for sample in samples], list)
        try:
            with redirect_stdout(io.StringIO()):  # its bars
                return nncf.quantize(graph, data, subset_size=len(samples))
        except Exception as error:
            raise EngineError(f"NNCF could not quantise the network ({type(error).__name__}: {error})") from error
