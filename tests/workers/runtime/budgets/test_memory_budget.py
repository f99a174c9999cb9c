from typing import Any

import pytest

from shared.settings import Settings
from tests.fake_device import FakeDevice
from workers.devices.base import MemoryInfo
from workers.runtime.budgets.memory_budget import HOST_BYTES, budget_bytes

GIB = 1 << 30


@pytest.mark.parametrize(
    ("free", "total", "changes", "expected"),
    [
        (79, 80, {}, 71),  # the reserve is at most 8 GiB
        (23, 24, {}, 18.2),
        (7, 8, {}, 5.4),
        (79, 80, {"workers_per_device": 2}, 32),
        (23, 24, {"workers_per_device": 2}, 9.6),
        (46, 80, {"workers_per_device": 2}, 32),  # the other worker has loaded its models
        (30, 80, {}, 22),  # what other processes hold is theirs
        (7, 8, {"gpu_shared_bytes": 2 * GIB}, 4),  # the reserve holds the memory that residuals are shared in
        (7, 8, {"gpu_shared_bytes": 2 * GIB, "gpu_shared": "off"}, 5.4),
        (1, 24, {}, 1),
        (79, 80, {"model_memory_bytes": 3 * GIB}, 3),
    ],
)
def test_weights_may_take_what_is_free_on_the_card_less_a_reserve(
    free: int, total: int, changes: dict[str, Any], expected: float
) -> None:
    device = FakeDevice(memory=MemoryInfo(free * GIB, total * GIB))
    assert budget_bytes(Settings(**changes), device) / GIB == pytest.approx(expected, abs=0.01)


def test_the_reserve_of_a_worker_with_jobs_holds_the_residuals_of_two_steps() -> None:
    device = FakeDevice(memory=MemoryInfo(7 * GIB, 8 * GIB))
    lent = {"gpu_shared_bytes": GIB}
    assert budget_bytes(Settings(**lent), device, GIB) == 5 * GIB
    assert budget_bytes(Settings(**lent), device, GIB, takes_residuals=True) == 3 * GIB


def test_on_a_device_without_memory_of_its_own_the_budget_is_fixed() -> None:
    assert budget_bytes(Settings(), FakeDevice()) == HOST_BYTES


def test_a_gpu_has_room_for_weights(cuda: Any) -> None:
    memory = cuda.memory()
    assert 0 < budget_bytes(Settings(), cuda) < memory.free_bytes
