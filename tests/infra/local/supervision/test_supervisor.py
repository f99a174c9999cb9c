"""The supervisor with real processes: starts, restarts, order in stopping, and nothing left."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.local.home_lock import find_holder
from infra.local.ready import read_pids
from infra.local.supervision.supervised_process import LONGEST_PAUSE_S, LONGEST_SERVER_PAUSE_S
from infra.local.supervision.supervisor import POLL_S
from shared.redis_clients import FIRST_PAUSE_S, RETRIES
from shared.redis_clients import LONGEST_PAUSE_S as LONGEST_CLIENT_PAUSE_S
from shared.settings import ROOT
from tests.infra.local.waiting import eventually

SCRIPT = ROOT / "tests" / "infra" / "local" / "supervision" / "small_fleet.py"
#: On a busy machine.
END_S = 60
SLEEPER = "import time; print('runs', flush=True); time.sleep(600)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}, sys.argv[1]])"

#: Starts a fleet of a server and a client, whose Python programs it takes.
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def run(*programs: str) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(SCRIPT), str(tmp_path), *programs]
        with (tmp_path / "terminal").open("wb") as terminal:
            started.append(subprocess.Popen(command, env=environment, stdout=terminal))
        return started[-1]

    yield run
    for process in started:
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


def log_of(folder: Path, name: str) -> str:
    log = folder / "logs" / f"{name}.log"
    return log.read_text() if log.exists() else ""


def lines_of(folder: Path, name: str) -> list[str]:
    """The whole lines of a log: the last one may be half written."""
    return log_of(folder, name).split("\n")[:-1]


def stopped_at(folder: Path, name: str) -> float:
    return float(log_of(folder, name).splitlines()[-1].removeprefix("stopped at "))


def await_running(folder: Path) -> dict[str, int]:
    eventually(lambda: all("runs" in log_of(folder, name) for name in ("server", "client")))
    return read_pids(folder)


def test_the_server_stops_after_its_client(tmp_path: Path, start: Start) -> None:
    fleet = start()
    await_running(tmp_path)
    fleet.send_signal(signal.SIGINT)
    assert fleet.wait(timeout=END_S) == signal.SIGINT
    assert stopped_at(tmp_path, "client") < stopped_at(tmp_path, "server")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_after_a_stop(tmp_path: Path, start: Start, number: signal.Signals) -> None:
    fleet = start(SLEEPER, PARENT)
    eventually(lambda: len(processes_of(tmp_path)) == 4)
    fleet.send_signal(number)
    fleet.wait(timeout=END_S)
    assert processes_of(tmp_path) == []
    assert read_pids(tmp_path) == {}
    assert find_holder(tmp_path) is None


def test_a_signal_right_at_the_start_stops_everything(tmp_path: Path, start: Start) -> None:
    fleet = start()
    eventually(lambda: "started" in log_of(tmp_path, "supervisor"))
    fleet.send_signal(signal.SIGINT)
    assert fleet.wait(timeout=END_S) == signal.SIGINT
    assert processes_of(tmp_path) == []


def test_nothing_runs_on_after_the_supervisor_was_killed(tmp_path: Path, start: Start) -> None:
    fleet = start()
    await_running(tmp_path)
    fleet.kill()
    fleet.wait()
    assert eventually(lambda: processes_of(tmp_path) == [])
    assert find_holder(tmp_path) is None


def test_a_killed_process_comes_back_and_the_other_stays(tmp_path: Path, start: Start) -> None:
    fleet = start()
    before = await_running(tmp_path)
    os.kill(before["client"], signal.SIGKILL)
    after = eventually(
        lambda: (
            read_pids(tmp_path).get("client", before["client"]) != before["client"] and read_pids(tmp_path)
        )
    )
    assert after["server"] == before["server"]
    assert "client ended unexpectedly with status -9; restarts in 0.25 s" in log_of(tmp_path, "client")
    assert fleet.poll() is None


def test_what_a_killed_process_had_started_goes_with_it(tmp_path: Path, start: Start) -> None:
    start(SLEEPER, PARENT)
    parent = psutil.Process(eventually(lambda: read_pids(tmp_path).get("client")))
    child = eventually(parent.children)[0]
    parent.kill()
    assert eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_process_that_cannot_run_is_tried_less_and_less_often_and_the_terminal_says_why(
    tmp_path: Path, start: Start
) -> None:
    start(SLEEPER, "raise SystemExit('there is no such device')")
    terminal = tmp_path / "terminal"
    eventually(lambda: "in 1 s" in terminal.read_text())
    assert terminal.read_text().splitlines()[:3] == [
        f"client ended unexpectedly with status 1; restarts in {s} s: there is no such device"
        for s in ("0.25", "0.5", "1")
    ]


def test_a_server_is_back_well_before_its_clients_give_up() -> None:
    pauses = [min(LONGEST_CLIENT_PAUSE_S, FIRST_PAUSE_S * 2**i) for i in range(1, RETRIES + 1)]
    assert sum(pauses) > 2 * (POLL_S + LONGEST_SERVER_PAUSE_S)
    assert LONGEST_SERVER_PAUSE_S < LONGEST_PAUSE_S


def test_logs_are_rotated_while_processes_write(tmp_path: Path, start: Start) -> None:
    # Given two processes that write without end, and space for two files of 10,000 bytes each
    chatter = "while True: print('x' * 99, flush=True)"
    start(chatter, chatter)
    eventually(lambda: (tmp_path / "logs" / "client.log.1").exists())
    # When somebody else removes a file besides
    (tmp_path / "logs" / "server.log").unlink(missing_ok=True)
    eventually(lambda: log_of(tmp_path, "server"))
    # Then there are no more files than that, none is larger, and lines are whole
    files = list((tmp_path / "logs").glob("[cs][le]*.log*"))
    assert {file.name for file in files} <= {f"{n}.log{i}" for n in ("client", "server") for i in ("", ".1")}
    assert max(file.stat().st_size for file in files if file.exists()) <= 10_000 + 65_536
    assert set(eventually(lambda: lines_of(tmp_path, "client"))) == {"x" * 99}


def test_a_full_disk_stops_nobody(tmp_path: Path, start: Start) -> None:
    # Given folders for logs and pids in which nothing can be written
    for folder in ("logs", "pids"):
        (tmp_path / folder).symlink_to("/dev/full")
    fleet = start(SLEEPER, f"print('says something'); {SLEEPER}")
    eventually(lambda: len(processes_of(tmp_path)) == 3)
    # When the disk has space again
    for folder in ("logs", "pids"):
        (tmp_path / folder).unlink()
        (tmp_path / folder).mkdir()
    # Then pids are there, a process that is killed comes back with its log, and a signal ends it all
    pids = eventually(lambda: len(read_pids(tmp_path)) == 2 and read_pids(tmp_path))
    os.kill(pids["client"], signal.SIGKILL)
    eventually(lambda: "says something" in log_of(tmp_path, "client"))
    fleet.send_signal(signal.SIGINT)
    assert fleet.wait(timeout=END_S) == signal.SIGINT
    assert processes_of(tmp_path) == []


def test_files_that_a_full_disk_has_damaged_are_mended_before_their_server_starts(
    start: Start, tmp_path: Path
) -> None:
    log = tmp_path / "server" / "appendonlydir" / "appendonly.aof.1.incr.aof"
    log.parent.mkdir(parents=True)
    log.write_bytes(bytes(7) + b"*1\r\n$4\r\nPING\r\n")
    start(f"print('its length:', len(open({str(log)!r}, 'rb').read()), flush=True); {SLEEPER}")
    assert eventually(lambda: "its length: 14" in log_of(tmp_path, "server"))
    assert "server: 7 bytes removed that a full disk had damaged" in lines_of(tmp_path, "server")
    assert "7 bytes removed" in (tmp_path / "terminal").read_text()
