import math

import pytest

from shared.settings import Settings
from tests.fake_device import FakeDevice
from workers.devices.selection import find_device
from workers.runtime.budgets.transport_memory import (
    gpu_shared_bytes,
    max_held_bytes,
    shared_memory_bytes,
    taken_bytes,
)

GIB = 1 << 30
#: Of Flux with a ControlNet of 5/10 blocks, and of SD 1.5.
FLUX, SD1 = 377_487_360, 26_869_760


@pytest.mark.parametrize(
    ("step_bytes", "host", "gpu"), [(0, GIB, GIB // 2), (SD1, GIB, GIB // 2), (FLUX, 4 * FLUX, 2 * FLUX)]
)
def test_without_settings_the_catalogs_largest_step_decides(step_bytes: int, host: int, gpu: int) -> None:
    assert shared_memory_bytes(Settings(), step_bytes) == host
    assert gpu_shared_bytes(Settings(), step_bytes) == gpu


def test_settings_win() -> None:
    settings = Settings(shared_memory_bytes=1 << 20, gpu_shared_bytes=2 << 20)
    assert (shared_memory_bytes(settings, FLUX), gpu_shared_bytes(settings, FLUX)) == (1 << 20, 2 << 20)


def test_residuals_are_brought_ahead_to_a_card_within_what_is_set_aside_for_them() -> None:
    card = FakeDevice("cuda")
    assert max_held_bytes(card, FLUX) == taken_bytes(FLUX) == 2 * FLUX
    assert max_held_bytes(card, SD1) == max_held_bytes(card, 0) == GIB // 2
    # Elsewhere they take the host's memory wherever they are
    assert max_held_bytes(find_device("cpu"), FLUX) == math.inf
