from typing import Any

import pytest

from infra.chaos.interruptions import (
    KILL,
    SIGTERM,
    Event,
    Interruption,
    Recovered,
    check_attempts,
    late,
    recovered,
)


def status(at_s: float, name: str) -> Event:
    return Event(at_s, name, 0)


def step(at_s: float, number: int) -> Event:
    return Event(at_s, "", number)


#: Ended at 14: queued again at 18, claimed again at 19.
EVENTS = [
    *(status(0, "queued"), status(10, "running"), step(11, 2), step(13, 6)),
    *(status(18, "queued"), status(19, "running"), step(20, 8), status(21, "succeeded")),
]


def found(fault: str, requeued_s: float, *, step_s: float = 0.5, step: int = 6) -> Recovered:
    return Recovered(fault, "a", requeued_s, requeued_s, 0, step_s, step)


def test_a_recovery_is_measured_from_the_signal_to_the_next_claim() -> None:
    others = [status(18.5, "running"), status(30, "running")]
    [one] = recovered([Interruption(KILL, "a", 14)], {"a": EVENTS, "b": others})
    assert one == Recovered(KILL, "a", 4.0, 5.0, 1, 0.5, 6)


def test_a_job_that_ended_all_the_same_was_not_interrupted() -> None:
    assert recovered([Interruption(KILL, "a", 20.5)], {"a": EVENTS}) == []
    assert recovered([Interruption(KILL, "a", 22)], {"a": EVENTS}) == []


@pytest.mark.parametrize(
    ("fault", "requeued_s", "is_late"), [(KILL, 4.9, 0), (KILL, 5.1, 1), (SIGTERM, 2.4, 0), (SIGTERM, 2.6, 1)]
)
def test_a_job_is_queued_again_in_time_or_named(fault: str, requeued_s: float, is_late: int) -> None:
    assert len(list(late([found(fault, requeued_s)]))) == is_late


@pytest.mark.parametrize(
    ("attempts", "hand_overs", "fault", "violations"),
    [(1, 0, KILL, 0), (2, 0, KILL, 0), (2, 1, SIGTERM, 0), (2, 0, SIGTERM, 1), (3, 0, KILL, 1)],
)
def test_a_hand_over_costs_no_attempt_and_a_kill_one(
    attempts: int, hand_overs: int, fault: str, violations: int
) -> None:
    record = {"attempts": attempts, "hand_overs": hand_overs, "infrastructure_losses": 0}
    receipt = {"continued_at": [6]}
    assert len(list(check_attempts("a", record, receipt, [found(fault, 1)]))) == violations


@pytest.mark.parametrize(("continued_at", "violations"), [([6], 0), ([9], 0), ([2, 9], 0), ([5], 1), ([], 1)])
def test_a_job_that_was_handed_over_is_continued_where_it_was(
    continued_at: list[int], violations: int
) -> None:
    record = {"attempts": 2, "hand_overs": 1, "infrastructure_losses": 0}
    receipt: dict[str, Any] = {"continued_at": continued_at}
    assert len(list(check_attempts("a", record, receipt, [found(SIGTERM, 1)]))) == violations
