import pytest

from infra.bench.parts.family.traced_steps import TracedStep, Wait
from infra.bench.parts.family.waits import wait_figures


def test_waits_are_told_apart_by_the_residual() -> None:
    first = TracedStep(2.0, 0.5, 1.0, (Wait(0, 0.5, is_transfer=False), Wait(1, 0.75, is_transfer=True)))
    second = TracedStep(2.0, 0.5, 1.0, (Wait(0, 1.5, is_transfer=False), Wait(2, 0.25, is_transfer=False)))
    assert wait_figures([first, second, first, second], 3) == {
        "wait_share_0": 1.0,
        "wait_share_1": 0.0,
        "wait_share_2": 0.5,
        "first_wait_s": pytest.approx(1.0),
        "later_waits_s": pytest.approx(0.125),
        "transfer_waits_s": pytest.approx(0.375),
        "first_wait_share": pytest.approx(0.5),
        "later_waits_share": pytest.approx(0.0625),
        "transfer_waits_share": pytest.approx(0.1875),
    }
