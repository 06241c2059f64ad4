"""Settings of the whole suite."""

from __future__ import annotations

import os

import torch

# Toy networks are far too small to be worth a second thread, and threads that wait for one another are slow when the
# machine is busy.
torch.set_num_threads(1)
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.alone import pytest_runtest_protocol as pytest_runtest_protocol  # noqa: E402
from tests.commands import command as command  # noqa: E402
from tests.commands import logging_as_it_was as logging_as_it_was  # noqa: E402
