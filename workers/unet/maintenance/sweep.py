"""Removes what expired, deleted and lost jobs have left in Redis and S3: a chore of every UNet worker.

One worker at a time does it, a bounded part in each turn; the cursors are in Redis, so that any worker goes
on where another ended. Nothing here needs the turn to be its own: each removal is safe beside living workers.
"""

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from redis.exceptions import RedisError

from shared import keys
from shared.errors import SwiftError
from shared.jobs.record import ENDED, Status
from shared.jobs.store import JobStore
from shared.messaging.celery_app import GENERATE
from shared.periodic_thread import PeriodicThread
from shared.registry.workers import live_workers
from shared.storage.image_bucket import ImageBucket
from shared.storage.object_store import Bucket
from workers.unet.maintenance.recovery import HELD_S, UNACKED, UNACKED_INDEX, job_of, unacked_since
from workers.unet.maintenance.upload_leftovers import LEFTOVER_AGE, remove_leftovers

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 30.0
UPLOADS_EVERY_S = 3600
#: What one turn looks at: objects of a listing, keys of a scan, jobs whose images are over.
OBJECTS, KEYS, JOBS_AT_ONCE = 1000, 500, 100
#: A message other than a job's is a hint; one that nobody acknowledged for so long helps nobody.
HINT_S = 120.0
#: Bindings of broadcast queues that were made so long ago are removed; consumers do not need them to hear.
BINDING_S = 3600.0
#: Where kombu binds the queues of events, of control messages and of their answers.
BINDING, PERMANENT = "_kombu.binding.", "_kombu.binding_permanent."
BROADCASTS, REPLIES = ("celeryev", "celery.pidbox"), "reply.celery.pidbox"

_IMAGE = re.compile(rf"{keys.IMAGE_PREFIX}([0-9a-f]{{16}})/([0-9a-f]+)-\d+\.png")
_JOB = re.compile(r"swift:job:([0-9a-f]{16})(:.*)?")
_OWN_QUEUE = re.compile(r"unet\.[^@]+@(.+)")


class Sweeper:
    """Sweeps every `SWEEP_EVERY_S` seconds, in turn with all other workers."""

    def __init__(self, jobs: JobStore, images: ImageBucket, loras: Bucket) -> None:
        self._jobs, self._redis, self._images, self._loras = jobs, jobs.redis, images, loras
        self._thread = PeriodicThread("sweep", SWEEP_EVERY_S, self._sweep_in_turn)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the part that runs now, without waiting for it: S3 may be slow."""
        self._thread.stop(0)

    def sweep(self) -> None:
        """One turn of everything; what fails does not keep the rest from its turn."""
        parts: list[Callable[[], object]] = [
            self.delete_expired_images,
            self.delete_lost_images,
            self.delete_unused_control_images,
            self.heal_records,
            self.drop_messages,
            self.drop_bindings,
            self.drop_queues,
            self.delete_upload_leftovers,
        ]
        for part in parts:
            if self._thread.is_stopping:
                return
            try:
                part()
            except (RedisError, SwiftError) as error:
                log.warning("sweep interrupted", extra={"part": part.__name__, "error": str(error)})

    def delete_expired_images(self) -> None:
        """Delete the images of jobs that were deleted, failed, or ended longer ago than images are kept."""
        ids = self._redis.zrangebyscore(keys.IMAGES, 0, self._jobs.now(), start=0, num=JOBS_AT_ONCE)
        for job_id in map(str, ids):
            for blob in self._images.list(keys.images_prefix(job_id)):
                self._images.delete(blob.key)
            self._redis.zrem(keys.IMAGES, job_id)

    def delete_lost_images(self) -> None:
        """Delete images that belong to no job, or to an attempt that lost it.

        An image is listed before its job is read: an attempt that does not hold the job then never will.
        """
        found = [(key, _IMAGE.fullmatch(key)) for key in self._next_objects(keys.IMAGE_PREFIX)]
        images = [(key, match[1], match[2]) for key, match in found if match]
        pipe = self._redis.pipeline(transaction=False)
        ids = list(dict.fromkeys(job_id for _, job_id, _ in images))
        for job_id in ids:
            pipe.exists(keys.job(job_id))
            pipe.hmget(keys.job(job_id), "status", "attempt", "images")
        answers = pipe.execute(raise_on_error=False)
        records = dict(zip(ids, zip(answers[::2], answers[1::2], strict=True), strict=True))
        lost = [key for key, job_id, attempt in images if not _is_kept(key, attempt, *records[job_id])]
        for key in lost:
            self._images.delete(key)
        if lost:
            log.info("images of lost attempts deleted", extra={"images": len(lost)})

    def delete_unused_control_images(self) -> None:
        """Delete control images that nobody has used for their time; notice those that nobody has noted."""
        names = [keys.control_name(key) for key in self._next_objects(keys.CONTROL_PREFIX)]
        self._images.note([name for name in names if name])
        self._images.delete_unused(JOBS_AT_ONCE)

    def delete_upload_leftovers(self) -> None:
        """Delete what uploads of LoRAs have left that never ended; looked for once an hour."""
        if self._redis.set(keys.UPLOADS_SWEPT, 1, nx=True, ex=UPLOADS_EVERY_S):
            now = datetime.fromtimestamp(self._jobs.now(), UTC)
            files, parts = remove_leftovers(self._loras, now - LEFTOVER_AGE)
            log.info("leftovers of uploads removed", extra={"files": files, "multipart": parts})

    def heal_records(self) -> None:
        """Put every job on the lists of its status; of jobs that are gone drop entries, events and leases."""
        found = {match[1] for key in self._next_keys("swift:job:*") if (match := _JOB.fullmatch(key))}
        statuses: tuple[Status, ...] = ("queued", "running", "succeeded", "failed", "cancelled")
        for index in (keys.JOBS, keys.UNSENT, keys.UNRUNNABLE, *map(keys.by_status, statuses)):
            cursor, members = self._redis.zscan(index, int(self._cursor(index) or 0), count=KEYS)
            self._set_cursor(index, str(cursor))
            found.update(str(member) for member, _ in members)
        self._jobs.heal(sorted(found))

    def drop_messages(self) -> None:
        """Drop what workers took and never acknowledged, once its job has ended: kombu keeps it for hours.

        A worker that lives and still acknowledges it removes nothing then; no job hangs on a message.
        """
        now = self._jobs.now()
        ages = {tag: now - seen_at for tag, seen_at in unacked_since(self._jobs).items()}
        old = [tag for tag, age in ages.items() if age > HELD_S]
        texts: list[Any] = self._redis.hmget(UNACKED, old) if old else []
        ids = {tag: job_of(text) for tag, text in zip(old, texts, strict=True) if GENERATE in str(text)}
        alive = self._unended({job_id for job_id in ids.values() if job_id})
        stale = [tag for tag in old if (ids[tag] not in alive if tag in ids else ages[tag] > HINT_S)]
        if stale:
            pipe = self._redis.pipeline()
            pipe.zrem(UNACKED_INDEX, *stale)
            pipe.hdel(UNACKED, *stale)
            pipe.zrem(keys.MESSAGES_SEEN, *stale)
            pipe.execute()
            log.info("messages of dead workers dropped", extra={"messages": len(stale)})

    def drop_bindings(self) -> None:
        """Drop bindings of event and control queues, whose consumers are mostly dead.

        Broadcasts reach consumers by Redis' publish; what answers a control message binds its queue anew
        each time.
        """
        now = self._jobs.now()
        found: dict[str, tuple[str, str]] = {}
        for exchange in (*BROADCASTS, REPLIES):
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

    def drop_queues(self) -> None:
        """Drop the own queues of workers that are gone; recovery sends the jobs in them to all."""
        names = {beat.name for beat in live_workers(self._redis)}
        reserved = set(map(str, self._redis.zrange(keys.RESERVED_QUEUES, 0, -1)))
        for key in self._next_keys("unet.*@*"):
            match = _OWN_QUEUE.fullmatch(key)
            if match and match[1] not in names and key not in reserved:
                self._redis.delete(key)

    def _sweep_in_turn(self) -> None:
        """Sweep unless another worker has done so within the interval."""
        if self._redis.set(keys.SWEEP, 1, nx=True, px=int(SWEEP_EVERY_S * 900)):
            self.sweep()

    def _unended(self, ids: Iterable[str]) -> set[str]:
        ids = list(ids)
        pipe = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hget(keys.job(job_id), "status")
        found = zip(ids, pipe.execute(raise_on_error=False), strict=True)
        return {job_id for job_id, status in found if status is not None and status not in ENDED}

    def _next_objects(self, prefix: str) -> list[str]:
        """Keys of the objects that follow where the last turn ended; at the end it begins again."""
        found = [blob.key for blob in islice(self._images.list(prefix, after=self._cursor(prefix)), OBJECTS)]
        self._set_cursor(prefix, found[-1] if len(found) == OBJECTS else "")
        return found

    def _next_keys(self, pattern: str) -> list[str]:
        """Keys of Redis that follow where the last turn ended."""
        start = int(self._cursor(pattern) or 0)
        cursor, found = self._redis.scan(start, match=pattern, count=KEYS)
        self._set_cursor(pattern, str(cursor))
        return list(map(str, found))

    def _cursor(self, name: str) -> str:
        return str(self._redis.hget(keys.SWEEP_CURSORS, name) or "")

    def _set_cursor(self, name: str, cursor: str) -> None:
        self._redis.hset(keys.SWEEP_CURSORS, name, cursor)


def _is_kept(key: str, attempt: str, exists: Any, record: Any) -> bool:
    """Whether an image may be its job's: it is in the record, or the attempt that made it holds the job."""
    if not exists:
        return False
    if isinstance(record, Exception) or record[0] is None:
        return True  # cannot be read: whoever deletes the job deletes its images
    status, holder, images = record
    if status == "succeeded":
        try:
            return any(image["key"] == key for image in json.loads(images))
        except (ValueError, TypeError, LookupError):
            return True
    if status == "running":
        return bool(holder == attempt)
    return status not in ("queued", "failed", "cancelled")
