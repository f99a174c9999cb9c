"""One job at a time uses the device, while the images of at most one other are being stored."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

#: Threads of the worker: one for the job that has the device, one for the job whose images are stored.
THREADS = 2

#: A job calls it when nothing is left to compute.
LeaveDevice = Callable[[], None]


class DeviceTurns:
    """Gives the device to one job after the other; safe to use from several threads."""

    def __init__(
        self,
        busy_with: Callable[[str], AbstractContextManager[None]],
        check: Callable[[], None],
    ) -> None:
        """``busy_with``: within it the worker is registered as busy; ``check`` raises if none may begin."""
        self._busy_with, self._check = busy_with, check
        self._device = threading.Lock()
        self._storing = threading.Lock()
        self._stored: list[str] = []
        self._hold: Callable[[int], None] = lambda count: None

    def limit_messages(self, hold: Callable[[int], None]) -> None:
        """From now on ``hold`` is told how many messages the worker may hold: one more while a job stores."""
        self._hold = hold
        self._hold(1)

    def storing(self) -> list[str]:
        """The job whose images are being stored, if there is one."""
        return list(self._stored)

    @contextmanager
    def take(self, job_id: str) -> Iterator[LeaveDevice]:
        """Within the block no other job uses the device, until this one leaves it.

        Leaving waits while another job is being stored, so that no more images than two jobs' are in memory.
        """
        with ExitStack() as storing, ExitStack() as turn:
            turn.enter_context(self._busy_with(job_id))
            turn.enter_context(self._device)
            self._check()

            def leave() -> None:
                storing.enter_context(self._one_stores(job_id))
                turn.close()

            yield leave

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
