"""Checkpoints are as rare as their cost asks for."""

import pytest

from workers.unet.checkpoints.interval import CheckpointCosts


def test_what_costs_next_to_nothing_is_stored_as_often_as_the_setting_says() -> None:
    costs = CheckpointCosts(1.0)
    costs.record(0.0001, 0.002)
    assert costs.interval_s == 1.0


def test_what_costs_more_is_stored_so_rarely_that_it_takes_a_hundredth() -> None:
    costs = CheckpointCosts(1.0)
    costs.record(0.01, 0.04)
    assert costs.interval_s == pytest.approx(5.0)
    # And the estimate follows what is measured
    for _ in range(20):
        costs.record(0.0, 0.1)
    assert costs.interval_s == pytest.approx(10.0, rel=0.01)


def test_zero_turns_them_off() -> None:
    assert not CheckpointCosts(0.0).are_stored
    assert CheckpointCosts(1.0).are_stored
