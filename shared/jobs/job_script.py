"""The state machine of a job, `lua/job.lua`, as a call."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shared import keys
from shared.lua_script import read_lua
from shared.settings import Settings

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

#: If no process has called for so many heartbeats, none could reach the server.
SILENT_BEATS = 3


class JobScript:
    """Every change of a job's state is one call, and atomic."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self.redis = redis
        self._script = redis.register_script(read_lua("shared.jobs", "job"))
        self._common = [
            settings.job_ttl_s,
            settings.image_ttl_s,
            int(settings.lease_s * 1000),
            max(settings.lease_s / 3, SILENT_BEATS * settings.heartbeat_s),
        ]

    def __call__(
        self,
        verb: str,
        job_id: str,
        *args: Any,
        fields: Mapping[str, Any] | None = None,
        keys_after: Sequence[str] = (),
        pipe: "Pipeline | None" = None,
    ) -> Any:
        """Run ``verb`` on a job; ``args``, ``fields`` of its hash and further keys are the verb's own.

        With ``pipe`` the call is added to that pipeline, which also returns the reply.
        """
        names = [
            keys.job(job_id),
            keys.events(job_id),
            keys.lease(job_id),
            keys.JOBS,
            keys.UNSENT,
            keys.IMAGES,
            keys.SERVER,
            keys.UNRUNNABLE,
            keys.LEAVING,
            *keys_after,
        ]
        flat = [part for pair in (fields or {}).items() for part in pair]
        return self._script(keys=names, args=[verb, job_id, *self._common, *args, *flat], client=pipe)
