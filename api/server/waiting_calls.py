"""Which calls wait for their jobs right now, as all API processes know them."""

from typing import TYPE_CHECKING, cast

from shared import keys
from shared.jobs.events import WATCH_S
from shared.jobs.reader import JobReader
from shared.jobs.record import Job
from shared.lua_script import read_lua

if TYPE_CHECKING:
    from redis import Redis

#: A call that was not renewed for so long has ended with its process.
LEASE_S = 60
#: How often a call that waits is renewed.
RENEWAL_S = 15


class WaitingCalls:
    """Jobs that calls wait for, by tenant: no more than may wait at once."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._renew = redis.register_script(read_lua("api.server", "renew_call"))

    def renew(self, tenant: str, job_id: str) -> str:
        """A call waits for this job; forgotten after `LEASE_S`. So are, after `WATCH_S`, previews for it.

        Returns the id of an event that comes before the job's last one: its first, or `START`.
        """
        names = [keys.waiting_calls(tenant), keys.watched(job_id), keys.events(job_id)]
        return str(self._renew(keys=names, args=[job_id, LEASE_S, WATCH_S]))

    def end(self, tenant: str, job_id: str) -> None:
        """It waits no longer."""
        self._redis.zrem(keys.waiting_calls(tenant), job_id)

    def end_and_read(self, tenant: str, job_id: str, jobs: JobReader) -> Job:
        """It waits no longer; the job as it stands, in the same round trip."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.zrem(keys.waiting_calls(tenant), job_id)
        return jobs.get(job_id, tenant=tenant, pipe=pipe)

    def read(self, tenant: str) -> list[str]:
        """The jobs that a tenant's calls wait for, in no order."""
        name = keys.waiting_calls(tenant)
        return cast(list[str], self._redis.zrangebyscore(name, self._now(), "+inf"))

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return seconds + microseconds / 1e6
