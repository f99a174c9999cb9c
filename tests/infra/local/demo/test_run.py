from typing import Any

from infra.local.demo.run import describe_waits


def span(name: str, start_s: float, end_s: float, residual: int | None = None) -> dict[str, Any]:
    return {"name": name, "start_s": start_s, "end_s": end_s, "residual": residual}


def test_the_demo_tells_how_often_residuals_were_waited_for() -> None:
    timeline = [
        span("controlnet edge", 0.0, 1.0),
        span("wait for residuals", 0.25, 0.5, 0),
        span("wait for residuals", 0.5, 0.75, 3),
        span("controlnet edge", 1.0, 2.0),
        span("wait for residuals", 1.0, 1.25, 0),
        span("wait for transfer", 1.5, 1.75, 1),
        span("wait for the first of edge", 0.0, 0.5),
    ]
    told = describe_waits({"timeline": timeline})
    assert told == (
        "In 2 steps with a ControlNet the base model waited 2 times (0.500 s) for a step's first residual,"
        " 1 times (0.250 s) for later ones, and 1 times (0.250 s) for the transfer of one that was there."
    )
