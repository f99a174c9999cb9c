"""When the stack is ready, and when waiting for it is given up."""

from pathlib import Path

import pytest

from infra.local.plan import Process
from infra.local.ready import Deadline, await_ready, read_restarts
from infra.local.up import explain_missing
from shared.settings import Settings

REASON = "this worker cannot start: ModelFailed: model 'm' cannot be loaded: cut off"
PROCESS = Process(name="unet1", command=[], worker="unet")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for folder in ("logs", "pids"):
        (tmp_path / folder).mkdir()
    return tmp_path


def write_log(home: Path, ends: int, logged_reason: str = "") -> None:
    lines = [
        f"{REASON}\nended unexpectedly with status 1; restarts in 1 s{logged_reason}\n" for _ in range(ends)
    ]
    (home / "logs" / "unet1.log").write_text("".join(lines))


def test_a_process_that_ends_again_and_again_is_not_waited_for(home: Path) -> None:
    write_log(home, 3)
    missing = await_ready(Settings(home=home), [PROCESS], 600)
    assert REASON in missing["unet1"]
    assert "status 1" in missing["unet1"]


def test_a_process_that_cannot_be_started_is_not_waited_for(home: Path) -> None:
    line = "unet1 cannot be started: [Errno 12] Cannot allocate memory; restarts in 0.25 s"
    (home / "logs" / "unet1.log").write_text(f"{line}\n" * 3)
    assert read_restarts(home, "unet1") == [line] * 3
    assert await_ready(Settings(home=home), [PROCESS], 600) == {"unet1": line}


@pytest.mark.parametrize(
    ("waited_s", "told"),
    [(6.4, "given up after 6 s, because a process was restarted 3 times"), (120.2, "not ready after 120 s")],
)
def test_the_explanation_says_why_the_stack_was_given_up(waited_s: float, told: str, home: Path) -> None:
    text = explain_missing({"unet1": REASON}, home, waited_s, ready_s=120)
    assert told in text
    assert f"unet1: {REASON} (log: {home}/logs/unet1.log)" in text
    assert ("--ready-within" in text) == (waited_s > 120)


def test_the_reason_of_an_end_is_reported_once(home: Path) -> None:
    write_log(home, 1, f": {REASON}")
    (restart,) = read_restarts(home, "unet1")
    assert restart.count(REASON) == 1


def test_a_process_that_ended_once_is_waited_for(home: Path) -> None:
    write_log(home, 1)
    assert REASON in await_ready(Settings(home=home), [PROCESS], 0.01)["unet1"]


def test_a_process_that_does_not_run_is_missing(home: Path) -> None:
    assert await_ready(Settings(home=home), [PROCESS], 0.01) == {"unet1": "it does not run"}


class Clock:
    """Shows what it was set to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_worker_that_warms_up_is_waited_for_as_long_as_it_reports_progress() -> None:
    clock = Clock()
    deadline = Deadline(120.0, clock)
    # Given a worker that compiles for longer than the timeout, and another one
    for clock.now_s, why in (
        (100.0, "it has not reported itself"),
        (110.0, "warming up xl: 12 %"),
        (220.0, "warming up xl: 12 %, stages prepared: 1"),
        (330.0, "warming up xl: 12 %, stages prepared: 2"),
    ):
        deadline.note({"unet1": why, "unet2": "it has not reported itself"})
        assert not deadline.is_over
    # When it reports nothing new for the timeout, then waiting ends
    for clock.now_s, is_over in ((449.0, False), (451.0, True)):
        deadline.note({"unet1": "warming up xl: 12 %, stages prepared: 2"})
        assert deadline.is_over == is_over


def test_a_worker_that_begins_again_and_again_is_not_waited_for() -> None:
    clock = Clock()
    deadline = Deadline(120.0, clock)
    for clock.now_s in (0.0, 60.0, 119.0, 121.0):
        deadline.note({"unet1": "warming up xl: 0 %"})
    assert deadline.is_over
