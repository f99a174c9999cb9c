"""What the transport benchmark sends."""

from math import prod

import pytest

from infra.bench.parts.transport.transports import STEPS


@pytest.mark.parametrize(("step", "megabytes"), [("27mb", 27), ("107mb", 107)])
def test_a_step_weighs_what_it_is_called_after(step: str, megabytes: int) -> None:
    float16_bytes = 2
    assert sum(map(prod, STEPS[step])) * float16_bytes / 1e6 == pytest.approx(megabytes, abs=0.6)


def test_residuals_leave_deepest_first() -> None:
    for shapes in STEPS.values():
        sides = [shape[-1] for shape in shapes]
        assert sides == sorted(sides)
