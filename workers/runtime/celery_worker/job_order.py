"""Which queue a worker takes its next job from: jobs of models that it has loaded come first (ADR 30)."""

import logging
import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from kombu.utils.scheduling import round_robin_cycle
from redis.exceptions import RedisError

from shared.errors import SwiftError
from shared.messaging.celery_app import unet_queue
from shared.registry.loaded_models import LoadedModels, ModelQueue

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: A job whose model has to be loaded comes before one of a loaded model if it has waited for so many loads
#: longer and, after these, for so many times as long (ADR 30 compares other numbers).
LOADS, TIMES = 3.0, 2.0


def counted_wait_s(waited_s: float, load_s: float) -> float:
    """The wait by which a job whose model takes ``load_s`` to load is compared with those of loaded models.

    In seconds. Negative: whoever has loaded the model may still take the job sooner than a load would pay.
    """
    return (waited_s - LOADS * load_s) / TIMES


def is_left_to_others(queue: ModelQueue, load_s: float) -> bool:
    """Whether a worker that would load the model in ``load_s`` seconds leaves its oldest job to another."""
    has_time = queue.waited_s is None or counted_wait_s(queue.waited_s, load_s) < 0
    return queue.is_loaded_elsewhere and has_time


class JobOrder:
    """Ranks the models of a worker by which to take the next job of. One call to Redis for each ranking."""

    def __init__(
        self,
        redis: "Redis",
        models: Sequence[str],
        *,
        loaded: Callable[[], Collection[str]],
        expected_load_s: Callable[[str], float],
    ) -> None:
        """``models``: whose jobs it takes; ``loaded``: those in its memory.

        ``redis`` is to fail without retries: the event loop waits for it.
        """
        self.models = {unet_queue(model): model for model in models}  # by the queue of their jobs
        self.loaded = loaded
        self._loaded_models, self._expected_load_s = LoadedModels(redis), expected_load_s
        self._worker = ""

    def on_start(self, sender: Any, **_: object) -> None:
        """Celery's ``worker_init``: take the worker's name, under which it registers what it has loaded."""
        self._worker = str(sender.hostname)

    def __call__(self) -> "QueueTurns":
        """The order of one channel: what kombu calls its ``queue_order_strategy`` for."""
        return QueueTurns(self)

    def rank(self, models: Sequence[str]) -> list[str]:
        """Those of ``models`` whose jobs the worker takes now, best first: others are left to other workers.

        Raises `RedisError`; and `SwiftError` or `OSError` of the estimate of a load.
        """
        loaded, queues = self.loaded(), self._loaded_models.read_queues(self._worker, models)

        def wait_s(model: str) -> float:
            waited_s = queues[model].waited_s
            if waited_s is None:  # a job that comes now has not waited
                return 0.0 if model in loaded else -math.inf
            return waited_s if model in loaded else counted_wait_s(waited_s, self._expected_load_s(model))

        waits = {model: wait_s(model) for model in models}
        taken = [model for model in models if waits[model] >= 0 or not queues[model].is_loaded_elsewhere]
        return sorted(taken, key=lambda model: -waits[model])


class QueueTurns:
    """The order in which a channel reads its queues: round robin, but for those of jobs of any worker.

    Models are ranked when the last read brought something, as more may wait; and before every blocking read
    of an idle worker that has not loaded all its models, about once a second.
    """

    def __init__(self, order: JobOrder) -> None:
        self._order = order
        self._turns: Any = round_robin_cycle([])  # typed only in part
        self._may_wait = True  # jobs, as far as this worker knows

    def update(self, queues: Sequence[str]) -> None:
        """The queues that are consumed have changed."""
        self._turns.update(queues)
        self._may_wait = True

    def rotate(self, last_used: str) -> str:
        """A message came from this queue."""
        self._may_wait = True
        self._turns.rotate(last_used)
        return last_used

    def consume(self, count: int) -> list[str]:
        """The queues to read, the one to be preferred first; those left to other workers are missing."""
        queues: list[str] = list(self._turns.consume(count))
        models = [self._order.models[queue] for queue in queues if queue in self._order.models]
        is_idle, self._may_wait = not self._may_wait, False
        if len(models) < 2 or (is_idle and set(models) <= set(self._order.loaded())):
            return queues
        try:
            ranked = [unet_queue(model) for model in self._order.rank(models)]
        except (RedisError, SwiftError, OSError) as error:
            log.warning("models are served in turn", extra={"error": type(error).__name__})
            return queues
        return _put_in_order(queues, ranked, set(self._order.models))


def _put_in_order(queues: Sequence[str], ranked: Sequence[str], of_models: Collection[str]) -> list[str]:
    """``queues`` with those of models in the order ``ranked``, without those that are not in it."""
    following = iter(ranked)
    ordered = [next(following, None) if queue in of_models else queue for queue in queues]
    return [queue for queue in ordered if queue is not None]
