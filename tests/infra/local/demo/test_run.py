from typing import Any

from infra.local.demo.run import describe_waits


def span(name: str, start_s: float, end_s: float) -> dict[str, Any]:
    return {"name": name, "start_s": start_s, "end_s": end_s}


def test_the_demo_tells_how_often_residuals_were_waited_for() -> None:
    timeline = [
        span("controlnet edge", 0.0, 1.0),
        span("wait for residuals", 0.25, 0.5),
        span("controlnet edge", 1.0, 2.0),
        span("wait for transfer", 1.5, 1.75),
        span("wait for the first of edge", 0.0, 0.5),
    ]
    told = describe_waits({"timeline": timeline})
    assert told == (
        "In 2 steps with a ControlNet the base model waited 1 times for residuals, 0.250 s in all,"
        " and 1 times for the transfer of one that was there, 0.250 s."
    )
