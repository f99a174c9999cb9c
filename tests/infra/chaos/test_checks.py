from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.chaos.checks import Verdict, check_job, compare
from infra.chaos.faults import least_killed
from infra.chaos.interruptions import SIGTERM, Recovered
from infra.chaos.plot import plot_run
from infra.chaos.report import Injected, Run, Setup, longest_pause_s, render
from infra.chaos.resources import Process, Sample
from infra.chaos.target import read_job
from infra.chaos.traffic import Accepted, Log
from infra.chaos.webhooks import WebhookCounts
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


def make_run() -> Run:
    run = Run(Setup(60, 1, "2 UNet workers", "a machine"), Log(accepted=[Accepted("a", 0)]))
    run.verdict = Verdict(violations=["job a is missing"])
    run.recovered_s["kill"] += [1.0, 3.0, 2.0]
    run.injected = [Injected(10.0, "kill")]
    run.samples = [
        Sample(10.0 * i, {"queued": 3, "succeeded": ended}, {"files": 9}, [Process("unet1", 1, 500.0)])
        for i, ended in enumerate((0, 1, 1, 1, 2, 2, 2))
    ]
    return run


def test_the_report_lists_every_fault_and_every_violation() -> None:
    run = make_run()
    run.verdict.recovered = [Recovered(SIGTERM, "a", 0.25, 0.5, 0, 0.1, 6)]
    run.verdict.kills.update({"unet0": 2, "unet1": 1, "webhooks": 3, "residual-redis": 1})
    run.verdict.webhooks = WebhookCounts(9, 3, {"204": 6, "500": 2, "hung": 1})
    table = render(run)
    assert "| kill | 3 | 2.0 | 3.0 |" in table
    assert "| sigterm | 1 | 0.25 | 0.25 | 2 | 0.50 | 0.50 | 0 |" in table
    assert "| files | 9 | 9 | 9 | 9 |" in table
    assert "3 × unet, 3 × webhooks" in table
    assert "1 × residual-redis" in table
    assert "9 webhooks received of 0 jobs, 3 of them repeats" in table
    assert "failures answered: 2 × 500, 1 × hung." in table
    assert "1 violations" in table
    assert "- job a is missing" in table


def test_servers_that_were_killed_least_are_killed_next() -> None:
    servers = ["api", "redis", "webhooks"]
    assert least_killed(servers, {}) == servers
    assert least_killed(servers, {"redis": 1, "unet0": 7}) == ["api", "webhooks"]
    assert least_killed(servers, {"redis": 2, "api": 1, "webhooks": 1}) == ["api", "webhooks"]


def test_the_longest_time_without_an_ended_job_is_told() -> None:
    assert longest_pause_s(make_run().samples, 60.0) == 30.0


def test_the_plot_is_written(tmp_path: Path) -> None:
    plot_run(make_run(), tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 10_000


@pytest.mark.parametrize(("distance", "count"), [(0.0, 1), (2.0, 0), (None, 0)])
def test_images_may_differ_by_their_recipes_distance(distance: float | None, count: int) -> None:
    first, other = np.zeros((4, 4, 3), np.int16), np.full((4, 4, 3), 2, np.int16)
    assert len(list(compare("1C", [first, other], first, distance))) == count
