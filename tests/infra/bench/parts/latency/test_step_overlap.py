"""Overlap of encoder and ControlNet, from a timeline."""

import pytest

from infra.bench.parts.latency.step_overlap import read_steps


def span(name: str, start_s: float, end_s: float) -> dict[str, object]:
    return {"name": name, "start_s": start_s, "end_s": end_s, "worker": "a"}


def test_only_the_time_in_which_both_work_counts() -> None:
    timeline = [
        *[span("encoder", i, i + 0.4) for i in range(3)],
        *[span("decoder", i + 0.4, i + 0.9) for i in range(3)],
        span("controlnet edge", 0.1, 0.6),
        span("controlnet edge", 1.5, 1.9),
        span("controlnet edge", 2.1, 2.6),
    ]
    steps = read_steps(timeline)
    assert [step.overlap_ms for step in steps] == pytest.approx([300, 0])
    assert [step.step_ms for step in steps] == pytest.approx([1000, 1000])


def test_a_step_without_the_controlnet_is_refused() -> None:
    with pytest.raises(ValueError, match="2 steps, and the ControlNet worked at 1"):
        read_steps([span("encoder", 0, 1), span("encoder", 1, 2), span("controlnet edge", 0, 1)])
