"""Deletes what kombu leaves in Redis for workers that are gone; part of the sweep."""

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from shared import keys
from shared.jobs.record import ENDED
from shared.jobs.store import JobStore
from shared.messaging.celery_app import GENERATE
from shared.registry.workers import live_workers
from workers.unet.maintenance.sweep_cursors import SweepCursors
from workers.unet.maintenance.unacked import HELD_S, UNACKED, UNACKED_INDEX, job_of, unacked_since

log = logging.getLogger(__name__)

#: Messages other than those of jobs are hints; one that was not acknowledged for so long helps nobody.
HINT_S = 120.0
#: Bindings of broadcast queues that are so old are deleted; consumers receive broadcasts without them.
BINDING_S = 3600.0
#: Where kombu binds the queues of events, of control messages and of their replies.
BINDING, PERMANENT = "_kombu.binding.", "_kombu.binding_permanent."
EVENTS, CONTROL, REPLIES = "celeryev", "celery.pidbox", "reply.celery.pidbox"

_WORKER_QUEUE = re.compile(r"(?:unet\.[^@]+|attach)@(.+)")


class BrokerCleanup:
    """Finds messages, bindings and queues of dead workers in the control Redis."""

    def __init__(self, jobs: JobStore, cursors: SweepCursors) -> None:
        self._jobs, self._redis, self._cursors = jobs, jobs.redis, cursors

    def delete_messages(self) -> None:
        """Delete messages that were never acknowledged and whose job has ended: kombu keeps them for hours.

        A live worker may still acknowledge one, which then deletes nothing; no job depends on it.
        """
        now = self._jobs.now()
        ages = {tag: now - seen_at for tag, seen_at in unacked_since(self._jobs).items()}
        old = [tag for tag, age in ages.items() if age > HELD_S]
        texts: list[Any] = self._redis.hmget(UNACKED, old) if old else []
        ids = {tag: job_of(text) for tag, text in zip(old, texts, strict=True) if GENERATE in str(text)}
        unended = self._unended({job_id for job_id in ids.values() if job_id})
        stale = [tag for tag in old if (ids[tag] not in unended if tag in ids else ages[tag] > HINT_S)]
        if stale:
            pipe = self._redis.pipeline()
            pipe.zrem(UNACKED_INDEX, *stale)
            pipe.hdel(UNACKED, *stale)
            pipe.zrem(keys.MESSAGES_SEEN, *stale)
            pipe.execute()
            log.info("messages of dead workers deleted", extra={"messages": len(stale)})

    def delete_bindings(self) -> None:
        """Delete bindings of event and control queues, whose consumers are mostly dead.

        Broadcasts reach consumers by Redis' publish; a reply to a control message binds its queue anew.
        """
        now = self._jobs.now()
        found: dict[str, tuple[str, str]] = {}
        for exchange in (EVENTS, CONTROL, REPLIES):
            for member in map(str, self._redis.smembers(BINDING + exchange)):
                found[f"{exchange} {member}"] = exchange, member
        noted: list[Any] = self._redis.zrange(keys.BINDINGS_SEEN, 0, -1, withscores=True)
        seen: Mapping[str, float] = dict(noted)
        new = {name: now for name in found if name not in seen}
        old = [name for name in found if now - seen.get(name, now) > BINDING_S]
        for exchange, member in (found[name] for name in old):
            for table in (BINDING, PERMANENT):
                self._redis.srem(table + exchange, member)
        if new:
            self._redis.zadd(keys.BINDINGS_SEEN, new, nx=True)
        if gone := [*old, *(seen.keys() - found.keys())]:
            self._redis.zrem(keys.BINDINGS_SEEN, *gone)

    def delete_queues(self) -> None:
        """Delete the queues of single workers that are gone; recovery sends the jobs in them to all."""
        names = {beat.name for beat in live_workers(self._redis)}
        reserved = set(map(str, self._redis.zrange(keys.RESERVED_QUEUES, 0, -1)))
        for key in [*self._cursors.next_keys("unet.*@*"), *self._cursors.next_keys("attach@*")]:
            match = _WORKER_QUEUE.fullmatch(key)
            if match and match[1] not in names and key not in reserved:
                self._redis.delete(key)

    def _unended(self, ids: Iterable[str]) -> set[str]:
        """Those of ``ids`` whose jobs have not ended."""
        ids = list(ids)
        pipe = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hget(keys.job(job_id), "status")
        found = zip(ids, pipe.execute(raise_on_error=False), strict=True)
        return {job_id for job_id, status in found if status is not None and status not in ENDED}
