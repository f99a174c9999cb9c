"""`infra.local.respawn` with real processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from shared.settings import ROOT
from tests.infra.local.waiting import eventually

SLEEPER = "import time; time.sleep(600)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}])"

#: Starts a wrapper around a Python program.
Wrap = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def wrap(tmp_path: Path) -> Iterator[Wrap]:
    started: list[subprocess.Popen[bytes]] = []

    def start(program: str, *, owner: int | None = None) -> "subprocess.Popen[bytes]":
        options = ["--pid-file", str(tmp_path / "pid"), "--owner", str(owner or os.getpid()), "--"]
        command = [sys.executable, "-m", "infra.local.respawn", *options, sys.executable, "-c", program]
        with (tmp_path / "log").open("ab") as log:
            started.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=20)


def read_pid(folder: Path) -> int:
    file = folder / "pid"
    return int(file.read_text()) if file.exists() else 0


def test_a_killed_command_runs_again(tmp_path: Path, wrap: Wrap) -> None:
    wrap(SLEEPER)
    first = eventually(lambda: read_pid(tmp_path))
    os.kill(first, signal.SIGKILL)
    second = eventually(lambda: read_pid(tmp_path) not in (0, first) and read_pid(tmp_path))
    assert psutil.Process(second).is_running()
    assert "ended unasked with status -9" in (tmp_path / "log").read_text()


def test_told_to_stop_it_stops_its_command(tmp_path: Path, wrap: Wrap) -> None:
    wrapper = wrap(SLEEPER)
    command = eventually(lambda: read_pid(tmp_path))
    wrapper.terminate()
    assert wrapper.wait(timeout=5) == 0
    assert not psutil.pid_exists(command)
    assert not (tmp_path / "pid").exists()


def test_what_a_killed_command_had_started_goes_with_it(tmp_path: Path, wrap: Wrap) -> None:
    wrap(PARENT)
    parent = psutil.Process(eventually(lambda: read_pid(tmp_path)))
    child = eventually(parent.children)[0]
    parent.kill()
    assert eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_it_ends_when_its_owner_is_gone(tmp_path: Path, wrap: Wrap) -> None:
    owner = subprocess.Popen([sys.executable, "-c", SLEEPER])
    wrapper = wrap(SLEEPER, owner=owner.pid)
    command = eventually(lambda: read_pid(tmp_path))
    owner.kill()
    owner.wait()
    assert wrapper.wait(timeout=5) == 0
    assert not psutil.pid_exists(command)


def test_a_command_that_cannot_run_is_tried_less_and_less_often(tmp_path: Path, wrap: Wrap) -> None:
    wrap("raise SystemExit(3)")
    log = tmp_path / "log"
    eventually(lambda: "in 1 s" in log.read_text())
    said = log.read_text().splitlines()
    assert said[:3] == [f"ended unasked with status 3; starts again in {s} s" for s in ("0.25", "0.5", "1")]
