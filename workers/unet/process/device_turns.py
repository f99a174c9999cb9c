"""Who uses the device: one job at a time, and while none waits, steps of ControlNets for other workers' jobs.

The images of at most one other job are being stored meanwhile.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

#: Threads of the worker: one for the job that has the device, one for the job whose images are stored.
THREADS = 2

#: Where jobs wait in a queue when one ends, the next is here in a moment: for so long no step is served.
NEXT_JOB_S = 0.25

#: A job calls it when nothing is left to compute.
LeaveDevice = Callable[[], None]


class DeviceTurns:
    """Gives the device to one job after the other; safe to use from several threads.

    A job that waits comes before any step: it waits for the one under way at most. Following another
    worker's job counts as a job here.
    """

    def __init__(
        self,
        busy_with: Callable[[str], AbstractContextManager[None]],
        check: Callable[[], None],
        *,
        jobs_wait: Callable[[], bool] = lambda: False,
        before_next: Callable[[], None] = lambda: None,
    ) -> None:
        """``busy_with``: within it the worker is registered as busy; ``check`` raises if none may begin.

        ``jobs_wait``: whether jobs waited for a worker when this one was registered as free. ``before_next``
        is called when a job is about to leave the device, before the worker takes the next message.
        """
        self._jobs_wait, self._before_next = jobs_wait, before_next
        self._steps_from = 0.0  # `time.monotonic`; before that no step gets a turn
        self._busy_with, self._check = busy_with, check
        self._changed = threading.Condition()
        self._pending = 0  # jobs that wait or compute
        self._is_used = False  # by a job or by a step
        self._on_job: Callable[[], None] = lambda: None
        self._storing = threading.Lock()
        self._stored: list[str] = []
        self._hold: Callable[[int], None] = lambda count: None

    def limit_messages(self, hold: Callable[[int], None]) -> None:
        """From now on ``hold`` is told how many messages the worker may hold: one more while a job stores."""
        self._hold = hold
        self._hold(1)

    def on_job(self, interrupt: Callable[[], None]) -> None:
        """Call ``interrupt`` whenever a job comes: no more steps may be served."""
        self._on_job = interrupt

    def wait(self, timeout_s: float) -> bool:
        """Wait until no job waits or computes, so that steps may be served; returns whether that is so."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._pending, timeout_s):
                return False
            held_s = self._steps_from - time.monotonic()
            if held_s > 0:
                self._changed.wait_for(lambda: self._pending, min(held_s, timeout_s))
            return self._may_serve()

    @contextmanager
    def step(self) -> Iterator[bool]:
        """A turn for one step: no job begins before the block ends. ``False``: a job waits or computes."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or not self._is_used)
            may_serve = self._may_serve()
            self._is_used = self._is_used or may_serve
        try:
            yield may_serve
        finally:
            if may_serve:
                self._release()

    def storing(self) -> list[str]:
        """The job whose images are being stored, if there is one."""
        return list(self._stored)

    @contextmanager
    def take(self, job_id: str) -> Iterator[LeaveDevice]:
        """Within the block no other job uses the device, until this one leaves it.

        Leaving waits while another job is being stored, so that no more images than two jobs' are in memory.
        """
        with ExitStack() as storing, ExitStack() as turn:
            turn.enter_context(self._announced())
            turn.enter_context(self._busy_with(job_id))
            turn.enter_context(self._one_job())
            self._check()

            def leave() -> None:
                self._before_next()
                storing.enter_context(self._one_stores(job_id))
                turn.close()

            yield leave

    def _may_serve(self) -> bool:
        return not self._pending and time.monotonic() >= self._steps_from

    @contextmanager
    def _announced(self) -> Iterator[None]:
        """Within the block no step gets a turn."""
        with self._changed:
            self._pending += 1
            self._changed.notify_all()
        self._on_job()
        try:
            yield
        finally:
            with self._changed:
                self._pending -= 1
                if self._jobs_wait():
                    self._steps_from = time.monotonic() + NEXT_JOB_S
                self._changed.notify_all()

    @contextmanager
    def _one_job(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_used)
            self._is_used = True
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        with self._changed:
            self._is_used = False
            self._changed.notify_all()

    @contextmanager
    def _one_stores(self, job_id: str) -> Iterator[None]:
        with self._storing:
            self._stored.append(job_id)
            self._hold(THREADS)
            try:
                yield
            finally:
                self._hold(1)
                self._stored.remove(job_id)
