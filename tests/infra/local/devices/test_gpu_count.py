from typing import Any

import pytest
import torch

from infra.local.devices.gpu_count import count_for_driver, count_for_torch, load_driver


@pytest.mark.skipif(load_driver() is not None, reason="there is a driver")
def test_without_a_driver_there_is_no_gpu() -> None:
    assert count_for_driver() == 0
    assert count_for_torch() == 0


def test_the_driver_and_torch_count_the_same_gpus(cuda: Any) -> None:
    assert count_for_driver() == count_for_torch() == torch.cuda.device_count()
