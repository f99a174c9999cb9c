"""Checks and restores what a worker consumes: anyone who reaches the broker can tell it to stop.

Celery's remote control (Flower's buttons) cancels consumers, adds others, limits rates and disables events.
A worker that was changed reports it with its next heartbeat, is registered as busy meanwhile, and restores
its configuration.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from celery import bootsteps

log = logging.getLogger(__name__)

_RUN: Any = bootsteps.RUN  # type: ignore[attr-defined] # typed only in part

#: An event loop that does not answer for so long is shown as a problem: it waits for the broker, or hangs.
SILENT_S = 10.0


class ConsumerCheck:
    """Checks the Celery worker ``controller``, in its event loop: no other thread may touch it."""

    def __init__(self, controller: Any, wanted: Callable[[], Iterable[str]]) -> None:
        """``wanted``: names of the queues that it should consume from right now."""
        self._controller = controller
        self._wanted = wanted
        self._tasks: Mapping[str, Any] = {
            name: task for name, task in controller.app.tasks.items() if not name.startswith("celery.")
        }
        self._problems: list[str] = ["it does not consume yet"]
        self._before: set[str] = set()
        self._checked_at = time.monotonic()

    def problems(self) -> list[str]:
        """What was wrong at the last check; empty if the worker takes jobs."""
        silent_s = time.monotonic() - self._checked_at
        if silent_s > SILENT_S:
            return [
                f"its event loop has not answered for {silent_s:.0f} s: it waits for the broker, or hangs"
            ]
        return list(self._problems)

    def is_healthy(self) -> bool:
        """Whether it may be offered jobs."""
        return not self.problems()

    def check(self) -> None:
        """The last task of a heartbeat: restore what was changed; the next heartbeat reports it."""
        consumer = getattr(self._controller, "consumer", None)
        if consumer is not None:
            consumer.call_soon(self._check_now, consumer)

    def _check_now(self, consumer: Any) -> None:
        if consumer.blueprint.state != _RUN or consumer.task_consumer is None:
            self._problems = ["it does not consume: it starts or stops"]
        else:
            self._problems = [*self._check_queues(consumer), *self._check_tasks(consumer)]
            self._check_events(consumer)
            if not consumer.pool.active:
                self._problems.append("its pool has stopped")
        for problem in self._problems:
            log.warning(
                "this worker was changed from outside and restores its configuration",
                extra={"found": problem},
            )
        self._checked_at = time.monotonic()

    def _check_queues(self, consumer: Any) -> list[str]:
        wanted = set(self._wanted())
        active = {queue.name for queue in consumer.task_consumer.queues}
        active = {name for name in active if consumer.task_consumer.consuming_from(name)}
        before, self._before = self._before or active | wanted, wanted
        for name in sorted(wanted - active):
            consumer.add_task_queue(name)
        for name in sorted(active - wanted):
            consumer.cancel_task_queue(name)
        # What is wanted changes, too, and is no problem then.
        missing = [f"it did not consume from {name}" for name in sorted((wanted & before) - active)]
        extra = sorted(active - wanted - before)
        return missing + [f"it consumed from {name}, which it does not serve" for name in extra]

    def _check_tasks(self, consumer: Any) -> list[str]:
        limited = [name for name, task in self._tasks.items() if task.rate_limit is not None]
        for name in limited:
            self._tasks[name].rate_limit = None
            bucket = consumer.task_buckets[name]
            consumer.task_buckets[name] = None
            held, bucket_contents = [], getattr(bucket, "contents", ())
            held = [request for request, _ in bucket_contents]
            if bucket is not None:
                bucket.clear_pending()
            for request in held:  # they waited for the limit, not for a free thread
                consumer._limit_move_to_pool(request)
        for task in self._tasks.values():
            task.time_limit = task.soft_time_limit = None
        return [f"its task {name} was rate limited" for name in limited]

    def _check_events(self, consumer: Any) -> None:
        """Without them Flower shows nothing; jobs are computed all the same."""
        dispatcher = consumer.event_dispatcher
        if dispatcher is not None and dispatcher.groups and "task" not in dispatcher.groups:
            dispatcher.groups.add("task")
