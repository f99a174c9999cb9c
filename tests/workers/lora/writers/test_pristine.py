"""Copies of pristine weights lie where there is memory for them."""

import pytest
import torch
from torch import nn

from tests.fake_device import FakeDevice
from workers.devices.base import MemoryInfo
from workers.lora.writers.pristine import PristinePlace, PristineWeights

#: Bytes of all weights of the part.
PART_BYTES = 3 * 64 * 64 * 2


def pristine(free_bytes: int, total_bytes: int, place: PristinePlace = "auto") -> PristineWeights:
    parameters = {
        ("unet", str(i)): nn.Parameter(torch.randn(64, 64).half(), requires_grad=False) for i in range(3)
    }
    weights = PristineWeights(FakeDevice(memory=MemoryInfo(free_bytes, total_bytes)), parameters)
    weights.place = place
    return weights


@pytest.mark.parametrize(
    ("free_bytes", "is_on_device"),
    [(PART_BYTES * 2, True), (PART_BYTES * 2 - 1, False), (PART_BYTES // 2, False)],
)
def test_a_quarter_of_the_devices_memory_stays_free_of_all_copies_of_a_part(
    free_bytes: int, is_on_device: bool
) -> None:
    weights = pristine(free_bytes, 4 * PART_BYTES)
    weights.add([("unet", "0")])
    assert weights.nbytes == PART_BYTES // 3
    assert weights.device_bytes == (weights.nbytes if is_on_device else 0)


@pytest.mark.parametrize(("place", "is_on_device"), [("device", True), ("host", False)])
def test_an_operator_may_choose_the_place(place: PristinePlace, is_on_device: bool) -> None:
    weights = pristine(PART_BYTES, PART_BYTES, place)
    weights.add([("unet", "0"), ("unet", "2")])
    assert (weights.device_bytes > 0) == is_on_device


def test_the_first_copy_decides_for_the_part() -> None:
    weights = pristine(PART_BYTES * 2, 4 * PART_BYTES)
    weights.add([("unet", "0")])
    weights.place = "host"
    weights.add([("unet", "0"), ("unet", "1")])
    assert weights.device_bytes == weights.nbytes == 2 * PART_BYTES // 3


def test_weights_that_were_never_written_need_no_copy() -> None:
    weights = pristine(PART_BYTES, PART_BYTES)
    weights.restore([("unet", "1")])
    assert weights.nbytes == 0
