"""Where checkpoints lie: at the first residual server, under a key of their job, until they expire.

Nothing depends on them: without the server a job is computed all the same, and begins anew after a loss.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from shared import metrics
from shared.lua_script import read_lua
from shared.redis_clients import without_retries
from shared.settings import Settings
from workers.transport.keys import checkpoint_key
from workers.unet.checkpoints.interval import CheckpointCosts

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: Longer than an attempt that has lost its job, or that stores its last checkpoint, goes on.
_ENDED_S = 120.0


class CheckpointStore:
    """Stores the newest checkpoint of each job; no method raises what Redis does.

    ``costs`` is what a worker has learned of them over its jobs.
    """

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self.redis = without_retries(redis)
        self._script = self.redis.register_script(read_lua("workers.unet.checkpoints", "checkpoint"))
        self._ttl_s = settings.checkpoint_ttl_s
        self._limit_bytes = settings.checkpoint_bytes
        self._is_failing = False
        self._lock = threading.Lock()
        self._jobs: set[str] = set()
        self.costs = CheckpointCosts(settings.checkpoint_every_s)

    def fits(self, size_bytes: int) -> bool:
        """Whether a job may store so much."""
        return size_bytes <= self._limit_bytes

    def put(self, job_id: str, ordinal: int, frame: bytes) -> bool:
        """Store the checkpoint of attempt ``ordinal``; returns whether it was stored.

        It is not if a later attempt has the job.
        """
        is_stored = False
        with self._reported():
            is_stored = bool(self._call("put", job_id, ordinal, self._ttl_s, frame))
        metrics.CHECKPOINTS.labels("stored" if is_stored else "not_stored").inc()
        return is_stored

    def take(self, job_id: str, ordinal: int) -> bytes | None:
        """What attempts up to ``ordinal`` have stored; from now on those before it store nothing more."""
        self.expect(job_id)
        with self._reported():
            frame: bytes | None = self._call("take", job_id, ordinal, self._ttl_s)
            return frame
        return None

    def expect(self, job_id: str) -> None:
        """Something of the job is, or will be, at the server."""
        self._jobs.add(job_id)

    def is_expected(self, job_id: str) -> bool:
        """Whether this worker has stored, or looked for, a checkpoint of the job since it has it."""
        return job_id in self._jobs

    def end(self, job_id: str, ordinal: int) -> None:
        """Delete what there is of a job that has ended; what is still being stored is refused."""
        if job_id in self._jobs:
            self._jobs.discard(job_id)
            with self._reported():
                self._call("end", job_id, ordinal, _ENDED_S)

    def forget(self, job_id: str) -> None:
        """This worker has the job no more; what there is of it is another attempt's."""
        self._jobs.discard(job_id)

    def delete(self, job_id: str) -> None:
        """Delete a checkpoint whose job has ended, or is gone."""
        with self._reported():
            self.redis.delete(checkpoint_key(job_id))

    def _call(self, verb: str, job_id: str, ordinal: int, ttl_s: float, *args: bytes) -> Any:
        return self._script(keys=[checkpoint_key(job_id)], args=[verb, ordinal, int(1000 * ttl_s), *args])

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Log that the server fails, once until it works again: it may be away, or full."""
        try:
            yield
        except RedisError as error:
            with self._lock:
                was_failing, self._is_failing = self._is_failing, True
            if not was_failing:
                log.warning("checkpoints are not stored", extra={"error": f"{type(error).__name__}: {error}"})
        else:
            self._is_failing = False
