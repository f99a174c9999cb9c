"""The job store: creates jobs, lets workers claim them, and brings them back when a worker is lost."""

import json
import logging
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from shared import keys
from shared.errors import (
    AttemptsExhausted,
    Conflict,
    DeadlinePassed,
    InvalidSetting,
    JobUnreadable,
    LimitExceeded,
    Unavailable,
)
from shared.jobs.attempt import Attempt
from shared.jobs.durability import Durability
from shared.jobs.job_script import JobScript
from shared.jobs.reader import JobReader, check_id
from shared.jobs.receipt import Receipt
from shared.jobs.record import RECORD_VERSION, Failure, JobScheduling, no_job
from shared.jobs.spec import JobSpec
from shared.redis_clients import renewal_client
from shared.settings import Settings
from shared.storage.loras import version_of
from shared.webhooks.endpoint import JobWebhook

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

NORMAL = JobScheduling()
#: Of a job that no worker had ended in time.
LATE = Failure.of(DeadlinePassed("no worker had ended it by the deadline of its request"))


class JobStore(JobReader):
    """Reads and changes jobs."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        super().__init__(redis, settings)
        self._settings = settings
        #: For threads that renew what expires, or that must notice soon what has expired.
        self.renewal_redis = renewal_client(redis, settings.lease_s)
        self._renewals = JobScript(self.renewal_redis, settings)
        self.durability = Durability(redis, settings)

    # --- the web -------------------------------------------------------------------------------

    def create(
        self,
        spec: JobSpec,
        *,
        replays: Receipt | None = None,
        idempotency_key: str = "",
        digest: str = "",
        warnings: Sequence[str] = (),
        tenant: str,
        pixel_steps: int = 0,
        webhook: JobWebhook | None = None,
        scheduling: JobScheduling = NORMAL,
    ) -> tuple[str, bool]:
        """Store an accepted job, on disk if the server supports it; returns its id and whether it is new.

        A repeated ``idempotency_key`` of the tenant returns its first job, and raises `Conflict` when the
        request's ``digest`` differs. ``pixel_steps`` (pixels times steps) is what the job costs of its
        tenant's budget. Raises `LimitExceeded` where the tenant's limits leave no room, and `Unavailable`
        when the disk does not take it; nothing is stored then.
        """
        job_id = secrets.token_hex(8)
        fields = {"id": job_id, "version": RECORD_VERSION, "model": spec.model}
        fields |= {"spec": spec.model_dump_json(), **scheduling.fields()}
        if spec.loras:
            bucket = self._settings.lora_bucket
            versions = [version_of(bucket, ref.name, ref.etag, ref.key) for ref in spec.loras]
            fields["lora_versions"] = json.dumps(versions)
        if replays is not None:
            fields["replays"] = replays.model_dump_json()
        if warnings:
            fields["warnings"] = json.dumps(list(warnings))
        if webhook is not None:
            fields["webhook"] = webhook.model_dump_json()
        extra = [keys.idempotency(idempotency_key, tenant)] if idempotency_key else []
        pipe = self.redis.pipeline(transaction=False)
        args = (digest, tenant, pixel_steps)
        self.script("create", job_id, *args, fields=fields, keys_after=extra, pipe=pipe)
        try:
            first, first_digest, *exceeded = self.durability.execute(pipe)
        except (Unavailable, InvalidSetting):
            self.script("delete", job_id, "", "unaccepted")
            raise
        if not first:
            raise _limit_exceeded(first_digest, *exceeded)
        if first != job_id and first_digest != digest:
            raise Conflict("this Idempotency-Key was used for another request")
        return first, first == job_id

    def find_repeated(self, idempotency_key: str, digest: str, tenant: str) -> str | None:
        """The job that an earlier `create` stored for this key; raises `Conflict` as that does.

        Asked before a request is resolved: what it named then may be gone by now.
        """
        first, first_digest = self.redis.hmget(keys.idempotency(idempotency_key, tenant), ["job", "digest"])
        if first is None or not self.redis.exists(keys.job(str(first))):
            return None
        if first_digest != digest:
            raise Conflict("this Idempotency-Key was used for another request")
        return str(first)

    def check_limits(self, tenant: str) -> None:
        """Raise `LimitExceeded` if the tenant's limits leave no room for any job right now.

        Asked before a job is resolved, which costs more; `create` decides.
        """
        exceeded = [] if tenant == keys.LOCAL else self.script("limits", "", tenant)
        if exceeded:
            raise _limit_exceeded(*exceeded)

    def is_held(self, job_id: str, attempt: str) -> bool:
        """Whether this attempt still holds the job."""
        return bool(self.redis.get(keys.lease(job_id)) == attempt)

    def cancel(self, job_id: str, *, tenant: str | None = None) -> str:
        """Cancel: a queued job at once, a running one at its next step; an ended one stays as it is.

        A job whose record cannot be read is removed from every list, so that no worker claims it. Raises
        `NotFound`, as `get` does for a ``tenant`` that asks for another one's.
        """
        check_id(job_id)
        reply: str = self.script("cancel", job_id, tenant or "")
        if reply == "gone":
            raise no_job(job_id)
        return reply

    def delete(self, job_id: str, *, tenant: str | None = None) -> None:
        """Cancel a job that has not ended, then remove it; a worker's next sweep deletes its images.

        The worker that may still run it can write nothing more. Raises `NotFound` as `cancel` does.
        """
        check_id(job_id)
        if self.script("delete", job_id, tenant or "") == "gone":
            raise no_job(job_id)

    # --- a worker ------------------------------------------------------------------------------------

    def claim(self, job_id: str, worker: str) -> Attempt | None:
        """Try to claim the job; ``None`` if it has ended, is late, or another worker holds it.

        Also if its message was taken for lost and its tenant has reached its cap since: it is held again.
        """
        token = secrets.token_hex(8)
        tries, losses = self._settings.max_attempts, self._settings.max_infrastructure_losses
        failure = Failure(
            code=AttemptsExhausted.code,
            detail=f"{tries} attempts ended without an image (the workers died or lost their lease), "
            f"or {losses} were lost to servers that did not answer",
        )
        failures = [one.model_dump_json() for one in (failure, LATE)]
        reply = self.script("claim", job_id, token, worker, RECORD_VERSION, tries, losses, *failures)
        if reply != "claimed":
            return None
        try:
            return Attempt(
                self.script,
                self.get(job_id),
                token,
                renewals=self._renewals,
                retry_s=self._settings.job_timeout_s,
            )
        except JobUnreadable as error:
            log.error("job failed: its record cannot be read", extra={"job": job_id})
            ended = {"error": Failure.of(error).model_dump_json()}
            self.script("finish", job_id, token, "failed", fields=ended)
            return None

    def note_stopping(self, worker: str) -> None:
        """Note that a worker is stopped on purpose: attempts lost by that do not count."""
        self.script("leave", "", worker)

    # --- recovery --------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds since the epoch by Redis' clock, which all times of jobs are taken from."""
        seconds, microseconds = self.redis.time()
        return float(seconds) + float(microseconds) / 1e6

    def observe(self) -> None:
        """Note that the control Redis answers. After an outage no lease is lost until it can be renewed.

        Called several times in `job_script.silence_s`, by as many processes as there are.
        """
        self._renewals("observe", "")

    def orphans(self, unsent_after_s: float = 10.0) -> list[str]:
        """Ids of jobs that need a message: their worker's lease ran out, or none was ever sent.

        Jobs of dead workers go back to ``queued`` here; any number of processes may call this.
        """
        self.observe()
        running: list[str] = self.redis.zrange(keys.by_status("running"), 0, -1)  # type: ignore[assignment]
        alive = self.redis.mget([keys.lease(job_id) for job_id in running]) if running else []
        silent = [job_id for job_id, lease in zip(running, alive, strict=True) if lease is None]
        reaped = [job_id for job_id in silent if self._try("reap", job_id) == "reaped"]
        late = self.now() - unsent_after_s
        unsent: list[str] = self.redis.zrangebyscore(keys.UNSENT, 0, late)  # type: ignore[assignment]
        return reaped + [job_id for job_id in unsent if job_id not in reaped]

    def past_deadline(self) -> list[str]:
        """Ids of jobs that have not ended and whose deadline has passed."""
        late: list[str] = self.redis.zrangebyscore(keys.DEADLINES, 0, self.now())  # type: ignore[assignment]
        return late

    def fail_late(self) -> None:
        """End queued jobs whose deadline has passed; a running one is ended by its worker."""
        for job_id in self.past_deadline():
            self.fail(job_id, LATE)

    def fail(self, job_id: str, failure: Failure) -> None:
        """End a queued job that nothing can run."""
        self.script("fail", job_id, failure.model_dump_json())

    def _try(self, verb: str, job_id: str) -> str:
        """Run a verb for one of many jobs: an error in its record must not stop the others."""
        try:
            return str(self.script(verb, job_id))
        except ResponseError as error:
            log.warning("job skipped", extra={"job": job_id, "verb": verb, "error": str(error)})
            return "unreadable"


def _limit_exceeded(policy: str, limit: str, remaining: str, retry_after_s: str) -> LimitExceeded:
    """What the job script replies to a submission for which a tenant's limits leave no room."""
    if policy == "max_waiting_jobs":
        return LimitExceeded(f"{limit} jobs of this tenant wait already", policy=policy, limit=int(limit))
    return LimitExceeded(
        f"of {limit} pixels times steps a day this tenant has {remaining} left, and the job needs more",
        policy=policy,
        limit=int(limit),
        remaining=int(remaining),
        window_s=86_400,
        retry_after_s=int(retry_after_s),
    )
