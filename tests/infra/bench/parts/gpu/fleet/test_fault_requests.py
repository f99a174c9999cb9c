"""A worker's step fails once, when a file asks for it."""

from pathlib import Path

import pytest
import torch

from infra.bench.parts.gpu.fleet.fault_requests import REQUEST, lose_device, take


def test_a_request_is_taken_once(tmp_path: Path) -> None:
    (tmp_path / REQUEST).touch()
    assert take(tmp_path / REQUEST)
    assert not take(tmp_path / REQUEST)


def test_without_a_gpu_the_error_of_a_lost_device_is_raised() -> None:
    with pytest.raises(torch.AcceleratorError, match="device-side assert"):
        lose_device(torch.device("cpu"))
