"""The process manager with real processes: order in stopping, and nothing left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.local.ready import read_pids
from shared.settings import ROOT
from tests.infra.local.waiting import eventually

SCRIPT = ROOT / "tests" / "infra" / "local" / "small_fleet.py"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(tmp_path)], env=environment)
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


def processes_of(folder: Path) -> list[psutil.Process]:
    """Every process that has the folder on its command line."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if any(str(folder) in word for word in words):
            found.append(process)
    return found


def stopped_at(folder: Path, name: str) -> float:
    said = (folder / "logs" / f"{name}.log").read_text().splitlines()
    return float(said[-1].removeprefix("stopped at "))


def await_running(folder: Path) -> dict[str, int]:
    def runs(name: str) -> bool:
        log = folder / "logs" / f"{name}.log"
        return log.exists() and "runs" in log.read_text()

    eventually(lambda: runs("server") and runs("client"))
    return read_pids(folder)


def test_the_server_stops_after_its_client(tmp_path: Path, fleet: "subprocess.Popen[bytes]") -> None:
    await_running(tmp_path)
    fleet.send_signal(signal.SIGINT)
    assert fleet.wait(timeout=15) == 130
    assert stopped_at(tmp_path, "client") < stopped_at(tmp_path, "server")


def test_nothing_is_left_after_a_stop(tmp_path: Path, fleet: "subprocess.Popen[bytes]") -> None:
    commands = await_running(tmp_path).values()
    fleet.terminate()
    fleet.wait(timeout=15)
    assert [pid for pid in commands if psutil.pid_exists(pid)] == []
    assert processes_of(tmp_path) == []


def test_a_signal_right_at_the_start_stops_everything(
    tmp_path: Path, fleet: "subprocess.Popen[bytes]"
) -> None:
    eventually((tmp_path / "started").exists)
    fleet.send_signal(signal.SIGINT)
    assert fleet.wait(timeout=15) == 130
    assert processes_of(tmp_path) == []


def test_nothing_is_left_after_the_manager_was_killed(
    tmp_path: Path, fleet: "subprocess.Popen[bytes]"
) -> None:
    await_running(tmp_path)
    fleet.kill()
    fleet.wait()
    assert eventually(lambda: processes_of(tmp_path) == [])


def test_a_killed_client_comes_back_and_the_server_stays(
    tmp_path: Path, fleet: "subprocess.Popen[bytes]"
) -> None:
    before = await_running(tmp_path)
    os.kill(before["client"], signal.SIGKILL)
    after = eventually(
        lambda: (
            read_pids(tmp_path).get("client", before["client"]) != before["client"] and read_pids(tmp_path)
        )
    )
    assert after["server"] == before["server"]
    assert fleet.poll() is None
