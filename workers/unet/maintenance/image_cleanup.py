"""Deletes images that no job needs any more; part of the sweep."""

import json
import logging
import re
from itertools import islice
from typing import Any

from shared import keys
from shared.jobs.store import JobStore
from shared.storage.image_bucket import ImageBucket
from workers.unet.maintenance.sweep_cursors import SweepCursors
from workers.unet.maintenance.tenant_cleanup import AT_ONCE

log = logging.getLogger(__name__)

#: What one sweep reads: objects of a listing, and control images whose time is over.
OBJECTS, EXPIRED = 1000, 100
#: Of how many jobs one sweep deletes the images: of as many as it deletes jobs of deleted tenants. After each
#: portion what is done is noted, so that it is not done again.
JOBS, PORTION = AT_ONCE, 100

_IMAGE = re.compile(rf"{keys.IMAGE_PREFIX}([0-9a-f]{{16}})/([0-9a-f]+)-\d+\.(?:png|jpeg|webp)")


class ImageCleanup:
    """Finds expired, lost and unused images in the image bucket."""

    def __init__(self, jobs: JobStore, images: ImageBucket, cursors: SweepCursors) -> None:
        self._jobs, self._redis, self._images, self._cursors = jobs, jobs.redis, images, cursors

    def delete_expired_images(self) -> None:
        """Delete the images of jobs that were deleted, failed, or ended longer ago than images are kept."""
        for begin in range(0, JOBS, PORTION):
            count = min(PORTION, JOBS - begin)
            ids: Any = self._redis.zrangebyscore(keys.IMAGES, 0, self._jobs.now(), start=0, num=count)
            for job_id in ids:
                for stored in self._images.list(keys.images_prefix(job_id)):
                    self._images.delete(stored.key)
            if ids:
                self._redis.zrem(keys.IMAGES, *ids)
            if len(ids) < count:
                return

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
        results = pipe.execute(raise_on_error=False)
        records = dict(zip(ids, zip(results[::2], results[1::2], strict=True), strict=True))
        lost = [key for key, job_id, attempt in images if not _is_kept(key, attempt, *records[job_id])]
        for key in lost:
            self._images.delete(key)
        if lost:
            log.info("images of lost attempts deleted", extra={"images": len(lost)})

    def delete_unused_control_images(self) -> None:
        """Delete control images that nobody has used for long; register those that are not registered yet."""
        names = [keys.control_name(key) for key in self._next_objects(keys.CONTROL_PREFIX)]
        self._images.note([name for name in names if name])
        self._images.delete_unused(EXPIRED)

    def _next_objects(self, prefix: str) -> list[str]:
        """Keys of the next objects; after the last one it begins again."""
        found = [
            stored.key
            for stored in islice(self._images.list(prefix, after=self._cursors.get(prefix)), OBJECTS)
        ]
        self._cursors.set(prefix, found[-1] if len(found) == OBJECTS else "")
        return found


def _is_kept(key: str, attempt: str, exists: Any, record: Any) -> bool:
    """Whether an image may be its job's: it is in the record, or its attempt holds the job."""
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
