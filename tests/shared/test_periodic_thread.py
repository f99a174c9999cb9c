"""The thread behind heartbeats, leases and sweeps."""

import threading
import time

import pytest

from shared.periodic_thread import PeriodicThread

#: Longer than any test waits: a call that comes all the same was asked for.
NEVER_S = 3600.0


class Calls:
    """A function that notes when it was called, and fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.times: list[float] = []
        self._failures = failures
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self.times.append(time.monotonic())
            self._changed.notify_all()
            if len(self.times) <= self._failures:
                raise ValueError("failed as told")

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.times) >= count, timeout=30)


def test_the_function_is_called_again_and_again_until_the_thread_is_stopped() -> None:
    calls = Calls()
    thread = PeriodicThread("test", 0.01, calls)
    thread.start()
    calls.wait_for(3)
    thread.stop()
    count = len(calls.times)
    time.sleep(0.05)
    assert len(calls.times) == count


@pytest.mark.parametrize(("call_at_start", "expected"), [(True, 1), (False, 0)])
def test_the_first_call_comes_at_once_or_after_an_interval(call_at_start: bool, expected: int) -> None:
    calls = Calls()
    thread = PeriodicThread("test", NEVER_S, calls, call_at_start=call_at_start)
    thread.start()
    if expected:
        calls.wait_for(expected)
    thread.stop()
    assert len(calls.times) == expected


def test_a_woken_thread_does_not_wait_for_its_interval() -> None:
    calls = Calls()
    thread = PeriodicThread("test", NEVER_S, calls)
    thread.start()
    for count in (1, 2):
        thread.wake()
        calls.wait_for(count)
    thread.stop()
    assert len(calls.times) == 2


def test_a_call_that_was_asked_for_comes_before_the_thread_ends() -> None:
    calls = Calls()
    thread = PeriodicThread("test", NEVER_S, calls)
    thread.wake()
    thread.start()
    thread.stop()
    assert len(calls.times) == 1


def test_a_function_that_stops_its_thread_is_not_called_again() -> None:
    calls = Calls()

    def stop() -> None:
        thread.wake()
        thread.stop()
        thread.wake()
        calls()

    thread = PeriodicThread("test", 0.001, stop)
    thread.start()
    calls.wait_for(1)
    thread.stop(30)
    assert len(calls.times) == 1


def test_an_error_is_logged_and_the_function_called_again(caplog: pytest.LogCaptureFixture) -> None:
    calls = Calls(failures=2)
    thread = PeriodicThread("test", 0.001, calls)
    thread.start()
    calls.wait_for(4)
    thread.stop()
    failed = [record for record in caplog.records if record.message == "periodic call failed"]
    assert [vars(record)["failures"] for record in failed] == [1, 2]
    assert all(vars(record)["periodic_thread"] == "test" and record.exc_info for record in failed)


def test_pauses_after_errors_grow_up_to_their_limit() -> None:
    pauses = list[float]()

    class Recorded(PeriodicThread):
        def _wait(self, pause_s: float) -> bool:
            pauses.append(pause_s)
            return len(pauses) < 8

    thread = Recorded("test", 1.0, Calls(failures=5), max_backoff_s=4.0)
    thread.start()
    thread.stop()
    assert pauses == [1.0, 1.0, 1.0, 2.0, 4.0, 4.0, 1.0, 1.0]


def test_stopping_waits_no_longer_than_its_limit() -> None:
    gate = threading.Event()
    thread = PeriodicThread("test", NEVER_S, gate.wait, call_at_start=True)
    thread.start()
    start = time.monotonic()
    thread.stop(0.01)
    assert thread.is_stopping
    assert time.monotonic() - start < 30
    gate.set()
