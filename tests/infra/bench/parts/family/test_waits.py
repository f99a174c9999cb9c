from typing import Any

import pytest

from infra.bench.parts.family.waits import wait_figures


def span(name: str, end_s: float, residual: int | None = None) -> dict[str, Any]:
    return {"name": name, "start_s": 0.0, "end_s": end_s, "residual": residual}


def test_waits_are_told_apart_by_the_residual() -> None:
    timeline = [
        span("blocks", 9.0),
        span("wait for residuals", 0.5, 0),
        span("wait for residuals", 1.5, 0),
        span("wait for residuals", 0.25, 2),
        span("wait for transfer", 0.75, 1),  # it had been computed
    ]
    assert wait_figures({"timeline": timeline}, 3, 4) == {
        "wait_share_0": 0.5,
        "wait_share_1": 0.0,
        "wait_share_2": 0.25,
        "first_wait_s": pytest.approx(0.5),
        "later_waits_s": pytest.approx(0.0625),
    }
