"""Residuals of several ControlNets are summed in their order, wherever each was computed."""

import itertools
import weakref

import torch
from torch import Tensor

from tests.fake_device import FakeDevice
from workers.devices.base import DeviceCopy
from workers.unet.controlnet.received_residuals import ReceivedResiduals

#: Sums of these depend on their order: ``(r0 + r1) + r2`` is 1, in any other one it is 0.
ROUNDED = {4: 1e8, 2: -1e8, 7: 1.0}  # by position
DEVICE = FakeDevice()


def residuals() -> ReceivedResiduals:
    return ReceivedResiduals(list(ROUNDED), DEVICE)


def number(position: int) -> Tensor:
    return torch.full((1,), ROUNDED[position])


def test_the_order_of_a_sum_is_the_jobs_whoever_computes_what_and_when() -> None:
    for order in itertools.permutations(ROUNDED):
        for here in itertools.product([True, False], repeat=len(order)):
            received = residuals()
            for position, is_here in zip(order, here, strict=True):
                assert received.take(0) is None
                if is_here:
                    received.add_computed(0, position, number(position))
                else:
                    received.add(0, (position,), DeviceCopy(DEVICE, number(position), DEVICE.record()))
            total = received.take(0)
            assert total is not None
            assert total.item() == 1, f"{order}, computed here: {here}"


def test_those_that_are_computed_here_in_their_order_take_the_memory_of_one() -> None:
    received, computed = residuals(), []
    for position in ROUNDED:
        residual = number(position)
        computed.append(weakref.ref(residual))
        received.add_computed(0, position, residual)
        del residual
    assert [reference() for reference in computed] == [None] * len(ROUNDED)


def test_one_that_is_here_already_is_not_added_twice() -> None:
    received = residuals()
    received.add(0, (4, 2), DeviceCopy(DEVICE, number(4) + number(2), DEVICE.record()))
    for position in (2, 7, 7):
        received.add_computed(0, position, number(position))
    total = received.take(0)
    assert total is not None
    assert total.item() == 1


def test_one_that_comes_once_its_sum_is_taken_is_dropped() -> None:
    received = residuals()
    for position in ROUNDED:
        received.add_computed(0, position, number(position))
    received.take(0)
    late = number(4)
    reference = weakref.ref(late)
    received.add(0, (4,), DeviceCopy(DEVICE, late, DEVICE.record()))
    received.add_computed(0, 4, late)
    del late
    assert reference() is None
