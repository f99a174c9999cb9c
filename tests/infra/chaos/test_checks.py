from typing import Any

import pytest

from infra.chaos.checks import Verdict, check_job, read_job
from infra.chaos.report import Run, render
from infra.chaos.traffic import Accepted, Log
from tests.infra.cli.scripted_api import scripted_api

JOB: dict[str, Any] = {"status": "succeeded", "error": None}


def violations(
    one: Accepted, job: dict[str, Any] | None, done: int = 1, is_excused: bool = False
) -> list[str]:
    return list(check_job(one, job, done, is_excused))


def test_a_job_that_succeeded_once_is_no_violation() -> None:
    assert violations(Accepted("a", 0), JOB) == []


def test_a_job_cancelled_on_request_is_no_violation() -> None:
    assert violations(Accepted("a", 0, is_cancelled=True), {"status": "cancelled", "error": None}) == []


@pytest.mark.parametrize(
    ("job", "done", "violation"),
    [
        (None, 0, "is missing"),
        ({"status": "running", "error": None}, 0, "still running"),
        ({"status": "failed", "error": {"code": "internal"}}, 1, "internal"),
        ({"status": "cancelled", "error": None}, 1, "no client asked"),
        (JOB, 2, "2 done events"),
        (JOB, 0, "0 done events"),
    ],
)
def test_every_other_end_is_a_violation_that_names_the_job(
    job: dict[str, Any] | None, done: int, violation: str
) -> None:
    found = violations(Accepted("a", 0), job, done)
    assert len(found) == 1
    assert "job a" in found[0]
    assert violation in found[0]


@pytest.mark.parametrize("status", [503, 200])
def test_a_job_that_cannot_be_read_is_a_violation_and_checks_go_on(status: int) -> None:
    with scripted_api({"/v1/jobs/a": [(status, b"<html>")]}) as api:
        job = read_job(api.url, "a")
    assert violations(Accepted("a", 0), job, 0)[0].startswith("job a is still unknown")
    assert violations(Accepted("a", 0), read_job("http://127.0.0.1:9", "a"), 0)


def test_a_job_lost_with_the_append_only_file_is_excused_but_must_end() -> None:
    assert violations(Accepted("a", 0), None, 0, is_excused=True) == []
    assert violations(Accepted("a", 0), JOB, 2, is_excused=True) == []
    assert violations(Accepted("a", 0), {"status": "queued", "error": None}, 0, is_excused=True)


def test_the_report_lists_every_fault_and_every_violation() -> None:
    run = Run(60, 1, "a machine", Log(accepted=[Accepted("a", 0)]), Verdict(violations=["job a is missing"]))
    run.recovered_s["kill -9"] += [1.0, 3.0, 2.0]
    table = render(run)
    assert "| kill -9 | 3 | 2.0 | 3.0 |" in table
    assert "1 violations" in table
    assert "- job a is missing" in table
