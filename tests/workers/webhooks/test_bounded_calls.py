"""Calls that hang: their callers go on at the deadline, and there are never more of them than threads."""

import threading
import time
from collections.abc import Iterator

import pytest

from workers.webhooks.bounded_calls import BoundedCalls

#: Deadlines that are meant to pass, and those that are not.
SOON_S, WAIT_S = 0.05, 60


class Hanging:
    """A call that hangs until the test ends."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.began = threading.Semaphore(0)
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
        self.began.release()
        self.released.wait(WAIT_S)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    one = Hanging()
    yield one
    one.released.set()


def soon() -> float:
    return time.monotonic() + SOON_S


def later() -> float:
    return time.monotonic() + WAIT_S


def test_a_call_returns_or_raises_what_its_function_does() -> None:
    calls = BoundedCalls()
    assert calls.call("a", lambda: 7, later()) == 7
    with pytest.raises(ZeroDivisionError):
        calls.call("a", lambda: 1 / 0, later())


def test_a_call_that_hangs_is_given_up_at_its_deadline(hanging: Hanging) -> None:
    with pytest.raises(TimeoutError):
        BoundedCalls().call("a", hanging, soon())


def test_calls_that_hang_do_not_pile_up_and_other_tenants_are_served(hanging: Hanging) -> None:
    calls = BoundedCalls(threads=8)
    for n in range(20):
        with pytest.raises(TimeoutError):
            calls.call(f"slow{n % 2}", hanging, soon())
    assert hanging.count < 8
    assert calls.call("quick", lambda: 7, later()) == 7


def test_a_call_waits_for_a_thread_that_becomes_free(hanging: Hanging) -> None:
    calls = BoundedCalls(threads=1)
    first = threading.Thread(target=lambda: calls.call("a", hanging, later()))
    first.start()
    assert hanging.began.acquire(timeout=WAIT_S)
    with pytest.raises(TimeoutError):
        calls.call("b", lambda: 7, soon())
    hanging.released.set()
    assert calls.call("b", lambda: 7, later()) == 7
    first.join()
