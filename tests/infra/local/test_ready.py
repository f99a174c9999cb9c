"""When the stack is ready, and when waiting for it is given up."""

from pathlib import Path

import pytest

from infra.local.plan import Process
from infra.local.ready import await_ready, read_restarts
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
