"""Whether a stack that cannot become ready is told from one that only takes its time."""

from pathlib import Path

import pytest

from infra.local.plan import Process
from infra.local.ready import await_ready, read_restarts
from shared.settings import Settings

SAID = "this worker cannot start: ModelFailed: model 'm' cannot be loaded: cut off"
PROCESS = Process(name="unet1", command=[], worker="unet")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for folder in ("logs", "pids"):
        (tmp_path / folder).mkdir()
    return tmp_path


def write_log(home: Path, ends: int, said_after: str = "") -> None:
    lines = [f"{SAID}\nended unexpectedly with status 1; restarts in 1 s{said_after}\n" for _ in range(ends)]
    (home / "logs" / "unet1.log").write_text("".join(lines))


def test_a_process_that_only_ends_again_is_not_waited_for(home: Path) -> None:
    write_log(home, 3)
    missing = await_ready(Settings(home=home), [PROCESS], 600)
    assert SAID in missing["unet1"]
    assert "status 1" in missing["unet1"]


def test_what_it_said_is_told_once(home: Path) -> None:
    write_log(home, 1, f": {SAID}")
    (told,) = read_restarts(home, "unet1")
    assert told.count(SAID) == 1


def test_a_process_that_ended_once_gets_its_time(home: Path) -> None:
    write_log(home, 1)
    assert SAID in await_ready(Settings(home=home), [PROCESS], 0.01)["unet1"]


def test_a_process_that_says_nothing_is_missing(home: Path) -> None:
    assert await_ready(Settings(home=home), [PROCESS], 0.01) == {"unet1": "it does not run"}
