"""The state machine of a job, `lua/job.lua`, as a call."""

import time
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from shared import keys

if TYPE_CHECKING:
    from redis import Redis


class JobScript:
    """Every change of a job's state is one call, and atomic."""

    def __init__(self, redis: "Redis") -> None:
        self.redis = redis
        source = resources.files("shared").joinpath("lua/job.lua").read_text()
        self._script = redis.register_script(source)

    def __call__(
        self,
        verb: str,
        job_id: str,
        *args: Any,
        fields: Mapping[str, Any] | None = None,
        keys_after: Sequence[str] = (),
    ) -> Any:
        """Run ``verb`` on a job; ``args``, ``fields`` of its hash and further keys are the verb's own."""
        names = [
            keys.job(job_id),
            keys.events(job_id),
            keys.lease(job_id),
            keys.JOBS,
            keys.UNSENT,
            *keys_after,
        ]
        flat = [part for pair in (fields or {}).items() for part in pair]
        return self._script(keys=names, args=[verb, job_id, time.time(), *args, *flat])
