"""What ends a process that hangs."""

import subprocess
import sys
import threading

import pytest

from workers.runtime import watchdog as module
from workers.runtime.watchdog import STATUS, Watchdog

#: A process whose device never comes back, in a thread as a job's.
HANGS = """
import ctypes, sys, threading, time
from shared.logs import configure_logs
from shared.settings import read_settings
from workers.runtime import watchdog as module
from workers.runtime.watchdog import Watchdog
module.POLL_S = 0.05
configure_logs(read_settings())
watchdog = Watchdog(0.1)
watchdog.start()
def compute():
    with watchdog.limit("job 0123", 0.1):
        {hang}
threading.Thread(target=compute).start()
"""


@pytest.mark.parametrize(
    "hang", ["time.sleep(600)", "ctypes.CDLL(None).sleep(600)", "threading.Event().wait()"]
)
def test_a_process_whose_device_hangs_ends_and_says_why(hang: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGS.format(hang=hang)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == STATUS
    assert "job 0123 did not come back" in ended.stderr
    assert "in compute" in ended.stderr


def test_a_process_in_which_no_thread_can_run_ends() -> None:
    # Given native code that keeps the interpreter's lock
    hang = "module.FROZEN_S = 0.3; time.sleep(0.2); ctypes.PyDLL(None).sleep(600)"
    ended = subprocess.run(
        [sys.executable, "-c", HANGS.format(hang=hang).replace('"job 0123", 0.1', '"job 0123", 600')],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr


def test_an_overrun_is_reported_before_the_process_ends() -> None:
    ends: list[str] = []
    watchdog = Watchdog(600, end=ends.append)
    with watchdog.limit("job 0123", -1), watchdog.limit("job 4567", 600):
        watchdog.check()
        assert watchdog.problems() == ["job 0123 is past its deadline"]
    assert (watchdog.problems(), ends) == ([], [])


def test_a_block_that_ends_in_time_ends_nothing() -> None:
    ends: list[str] = []
    watchdog = Watchdog(0, end=ends.append)
    with pytest.raises(KeyError), watchdog.limit("job 0123", -1):
        raise KeyError
    watchdog.check()
    assert ends == []


def test_the_load_of_a_model_is_no_hanging_device(monkeypatch: pytest.MonkeyPatch) -> None:
    began = module.time.monotonic()
    ends: list[str] = []
    watchdog = Watchdog(0, loading_since=lambda: began, end=ends.append)
    with watchdog.limit("job 0123", -1):
        watchdog.check()
        assert ends == []
        monkeypatch.setattr(module, "LOAD_S", -1)
        watchdog.check()
    assert len(ends) == 1


def test_the_watchdog_checks_until_it_is_stopped() -> None:
    ended = threading.Event()
    watchdog = Watchdog(0, end=lambda why: ended.set())
    watchdog.start()
    with watchdog.limit("job 0123", -1):
        assert ended.wait(30)
    watchdog.stop()
