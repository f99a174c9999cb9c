"""Ends the process when something in it does not end in time: a device that hangs cannot be stopped.

The supervisor starts the worker again. What it had taken goes to others: leases end with the deadline.
"""

import faulthandler
import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from shared.periodic_thread import PeriodicThread
from workers.runtime.process_exit import end_process

log = logging.getLogger(__name__)

#: Between two checks.
POLL_S = 1.0
#: How long no thread of this process may run at all: native code that keeps the interpreter's lock.
FROZEN_S = 300
#: A load takes as long as a download does; then it is taken for hanging, too.
LOAD_S = 3600.0
#: ``os.EX_SOFTWARE``, as the supervisor shows it.
STATUS = 70


class _Watched(NamedTuple):
    what: str
    deadline: float


class Watchdog:
    """``with watchdog.limit(what, s):`` ends the process if the block runs longer than ``s`` and a grace."""

    def __init__(
        self,
        grace_s: float,
        *,
        loading_since: Callable[[], float | None] = lambda: None,
        end: Callable[[str], None] | None = None,
    ) -> None:
        """``loading_since``: when the load of a model began (`time.monotonic`): it may take `LOAD_S`."""
        self.grace_s = grace_s
        self._loading_since = loading_since
        self._end = end or (lambda why: end_process(why, STATUS))
        self._is_started = False
        self._watched: dict[int, _Watched] = {}
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._thread = PeriodicThread("watchdog", POLL_S, self._poll)

    def start(self) -> None:
        """Start checking."""
        self._is_started = True
        self._thread.start()

    def stop(self) -> None:
        """Stop checking: the process may take its time to end."""
        self._thread.stop(POLL_S)
        faulthandler.cancel_dump_traceback_later()

    @contextmanager
    def limit(self, what: str, seconds: float) -> Iterator[None]:
        """Within the block ``what`` may take ``seconds``."""
        key = next(self._ids)
        with self._lock:
            self._watched[key] = _Watched(what, time.monotonic() + seconds)
        try:
            yield
        finally:
            with self._lock:
                del self._watched[key]

    def problems(self) -> list[str]:
        """What should have ended by now, in sentences for the heartbeat."""
        return [f"{what} is past its deadline" for what in self.overdue()]

    def overdue(self) -> list[str]:
        """What should have ended by now: no claim is renewed for it."""
        now = time.monotonic()
        with self._lock:
            return [watched.what for watched in self._watched.values() if now > watched.deadline]

    def check(self) -> None:
        """End the process if something hangs."""
        now, since = time.monotonic(), self._loading_since()
        if since is not None and now - since < LOAD_S:
            return
        with self._lock:
            stuck = [one.what for one in self._watched.values() if now > one.deadline + self.grace_s]
        if stuck:
            self._end(f"{', '.join(stuck)} did not come back: the device hangs")

    def end(self, why: str) -> None:
        """End the process, as for what hangs; one that was not started ends nothing."""
        if self._is_started:
            self._end(why)
        else:
            log.error("not ended", extra={"reason": why})

    def _poll(self) -> None:
        # The last resort, where no Python thread can run any more: this timer runs in C.
        faulthandler.dump_traceback_later(FROZEN_S, exit=True, file=sys.__stderr__ or sys.stderr)
        self.check()
