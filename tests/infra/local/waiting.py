"""Waiting for what another process does, without waiting much longer than it takes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: A poll waits for this part of what was waited so far, within bounds: whoever asks for seconds leaves the
#: processors to what it waits for.
POLL_PART, SHORTEST_S, LONGEST_S = 0.05, 0.02, 0.25


def eventually(ask: Callable[[], T], timeout_s: float = 30.0) -> T:
    """The first true answer; fails when none comes."""
    begun_at = time.monotonic()
    while not (answer := ask()):
        waited_s = time.monotonic() - begun_at
        assert waited_s < timeout_s, f"still {answer!r} after {timeout_s:g} s"
        pause(waited_s)
    return answer


def pause(waited_s: float) -> None:
    """Sleep until the next poll of what was waited for so long."""
    time.sleep(min(max(POLL_PART * waited_s, SHORTEST_S), LONGEST_S))
