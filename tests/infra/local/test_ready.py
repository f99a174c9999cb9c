"""When the stack is ready, and when waiting for it is given up."""

from pathlib import Path

import pytest

from infra.local.plan import Process
from infra.local.ready import await_ready, read_restarts
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


def test_the_reason_of_an_end_is_reported_once(home: Path) -> None:
    write_log(home, 1, f": {REASON}")
    (restart,) = read_restarts(home, "unet1")
    assert restart.count(REASON) == 1


def test_a_process_that_ended_once_is_waited_for(home: Path) -> None:
    write_log(home, 1)
    assert REASON in await_ready(Settings(home=home), [PROCESS], 0.01)["unet1"]


def test_a_process_that_does_not_run_is_missing(home: Path) -> None:
    assert await_ready(Settings(home=home), [PROCESS], 0.01) == {"unet1": "it does not run"}
