"""The state machine of a job, `lua/job.lua`, as a call."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shared import keys
from shared.lua_script import read_lua
from shared.settings import Settings

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

#: If nobody has looked for expired leases for this part of a lease, nobody could reach the server. Less than
#: what is left of a lease that was renewed in time: none can expire in an outage that is not noticed.
SILENT_SHARE, LEAST_SILENCE_S = 0.5, 2.0


def silence_s(lease_s: float) -> float:
    """How long nobody is heard of in an outage, with leases of ``lease_s``."""
    return max(SILENT_SHARE * lease_s, LEAST_SILENCE_S)


class JobScript:
    """Every change of a job's state is one call, and atomic."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self.redis = redis
        # A job that ends is held no more, and its tenant is charged what it has used.
        self._script = redis.register_script(
            read_lua("shared", "call")
            + read_lua("shared.scheduling", "held")
            + read_lua("shared.jobs", "job")
        )
        self._common = [
            settings.job_ttl_s,
            settings.image_ttl_s,
            int(settings.lease_s * 1000),
            silence_s(settings.lease_s),
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
