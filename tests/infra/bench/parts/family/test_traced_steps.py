"""What a job's timeline tells of its steps, and that no critical path is longer than its step."""

import random

import pytest

from infra.bench.harness.report import CheckFailed
from infra.bench.parts.family.traced_steps import TracedStep, Wait, seconds_of, traced_steps
from tests.infra.bench.parts.family.timelines import span, timeline

CONTROLNET = span("controlnet edge", 0.25, 1.0)


def only(spans: list[dict[str, object]]) -> TracedStep:
    (step,) = traced_steps({"id": "1", "timeline": timeline([spans], step_s=4.0)})
    return step


def test_a_step_without_a_controlnet_is_its_base_model() -> None:
    step = only([])
    assert step == TracedStep(4.0, 0.5, 3.5, ())
    assert step.path_s == step.base_s == 4.0


def test_a_controlnet_that_was_not_waited_for_is_not_on_the_critical_path() -> None:
    step = only([CONTROLNET])
    assert (step.controlnet_s, step.residual_s, step.path_s) == (0.75, 0.0, 4.0)


def test_a_first_residual_that_was_waited_for_counts_from_the_beginning_of_its_controlnet() -> None:
    # Given a ControlNet that begins after a quarter of a second, and whose first residual is there after one
    step = only([CONTROLNET, span("wait for residuals", 0.5, 1.0, 0)])
    assert step.residual_s == pytest.approx(0.75)
    assert step.base_s == pytest.approx(3.5)
    # Then the base model goes on after that, and the quarter is what is lost
    assert step.path_s == pytest.approx(0.75 + 3.0)


def test_waits_for_later_residuals_and_transfers_are_no_part_of_the_critical_path() -> None:
    waits = [span("wait for residuals", 1.0, 1.5, 3), span("wait for transfer", 2.0, 2.25, 4)]
    step = only([CONTROLNET, *waits])
    assert step.waits == (Wait(3, 0.5, is_transfer=False), Wait(4, 0.25, is_transfer=True))
    assert step.path_s == pytest.approx(4.0 - 0.75)


def test_a_step_lasts_until_the_next_one_begins() -> None:
    spans = timeline([[], []], step_s=2.0)
    del spans[2]
    spans.append(span("blocks", 10.5, 11.5))  # and then the scheduler's half a second
    first, second = traced_steps({"id": "1", "timeline": spans})
    assert (first.step_s, first.path_s) == (2.0, 1.5)
    assert (second.step_s, second.path_s) == (2.0, 2.0)


def test_no_critical_path_is_longer_than_its_step() -> None:
    numbers = random.Random(7)
    for _ in range(200):
        begun, arrived = sorted(numbers.uniform(-0.1, 3.9) for _ in range(2))
        arrived = max(arrived, 0.5)
        spans = [
            span("controlnet edge", begun, begun + 5.0),
            span("wait for residuals", 0.5, arrived, 0),
        ]
        step = only(spans)
        assert 0 < step.path_s <= step.step_s + 1e-9


def test_a_job_of_which_only_some_steps_have_the_controlnet_does_not_count() -> None:
    spans = timeline([[CONTROLNET], []], step_s=2.0)
    with pytest.raises(CheckFailed, match="job 7: its timeline has 2 and 2 stages of steps, 1 of Contr"):
        traced_steps({"id": "7", "timeline": spans})


def test_a_longer_job_has_more_steps_like_those_after_the_first() -> None:
    assert seconds_of(10.0, [4.0, 2.0, 3.0], 5) == pytest.approx(10.0 + 2 * 2.5)
    assert seconds_of(3.0, [2.0], 4) == pytest.approx(3.0 + 3 * 2.0)
