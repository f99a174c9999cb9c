"""What a worker process tells its own Celery worker: how many messages to hold at once, and when to stop."""

from typing import Any

from celery.worker import state as worker_state

state: Any = worker_state  # typed only in part


class WorkerControl:
    """Controls the Celery worker ``controller`` of this process; its methods may be called in any thread."""

    def __init__(self, controller: Any) -> None:
        self._controller = controller

    def set_threads(self, count: int) -> None:
        """Before Celery builds its pool, in ``worker_init``: so many threads, whatever was asked for."""
        self._controller.concurrency = count

    def hold(self, count: int) -> None:
        """Take no message while as many as ``count`` are being worked on; Celery asks before each one.

        Called from ``worker_ready`` on. `celery.worker.consumer.tasks` reads this name at every poll of
        whatever connection, where ``worker_disable_prefetch`` is set.
        """
        self._controller.max_concurrency = count
        self._wake()

    def stop(self, status: int) -> None:
        """Stop as on SIGTERM, with an exit status.

        What runs comes to its end, and its message is acknowledged; other messages go back to their queues.
        """
        state.should_stop = status
        self._wake()

    def _wake(self) -> None:
        """Have the event loop look now: it may be waiting for the next message."""
        consumer = getattr(self._controller, "consumer", None)
        if consumer is not None:
            consumer.call_soon(_nothing)


def _nothing() -> None:
    """Called by the event loop."""
