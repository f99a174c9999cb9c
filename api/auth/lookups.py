"""Bounds what keys cost that may be wrong, from however many addresses they come."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from shared.errors import TooManyRequests, Unauthorized, Unavailable

#: Such keys that an API process looks up together, and how many wrong ones in a second.
AT_ONCE, WRONG_PER_S = 4, 50
#: How long a request waits for its turn.
LONGEST_WAIT_S = 5.0


class Lookups:
    """Has keys that were not right lately take turns.

    A few are looked up at once, so that many of them neither open as many connections to Redis nor keep the
    process from other requests. A wrong one is followed by a pause: there are `WRONG_PER_S` at most, and the
    others wait. While all are right, as when clients come back to a process that has started anew, nobody
    pauses.
    """

    def __init__(
        self,
        pause: Callable[[float], None],
        now: Callable[[], float] = time.monotonic,
        *,
        longest_wait_s: float = LONGEST_WAIT_S,
    ) -> None:
        """``pause`` waits for seconds."""
        self._pause, self._now, self._longest_wait_s = pause, now, longest_wait_s
        self._turns = BoundedSemaphore(AT_ONCE)
        self._paused_until = now()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, which is the block. Raises `TooManyRequests` if none comes in time, or
        `Unavailable` where that is not because of wrong keys.
        """
        if not self._turns.acquire(timeout=self._longest_wait_s):
            raise self._refusal()
        try:
            left_s = self._paused_until - self._now()
            if left_s > 0:
                self._pause(left_s)
            yield
        except Unauthorized:
            self._paused_until = max(self._paused_until, self._now()) + 1 / WRONG_PER_S
            raise
        finally:
            self._turns.release()

    def _refusal(self) -> TooManyRequests | Unavailable:
        if self._paused_until < self._now() - self._longest_wait_s:
            return Unavailable("API keys are not looked up in time right now")
        return TooManyRequests(
            "too many wrong API keys, of all addresses together",
            policy="wrong-keys-of-all",
            limit=WRONG_PER_S,
            window_s=1,
            retry_after_s=1,
        )
