"""Deletes what expired, deleted and lost jobs leave in Redis and S3: every UNet worker's background task.

One worker of the fleet at a time sweeps, a bounded part each time. That is to save work: two sweeps at once
do no harm, and each deletion is safe while workers run.
"""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from redis.exceptions import RedisError

from shared import keys
from shared.errors import SwiftError
from shared.jobs.record import Status
from shared.jobs.store import JobStore
from shared.periodic_thread import PeriodicThread
from shared.scheduling.releaser import Releaser
from shared.storage.image_bucket import ImageBucket
from shared.storage.object_store import Bucket
from workers.unet.checkpoints.store import CheckpointStore
from workers.unet.maintenance.broker_cleanup import BrokerCleanup
from workers.unet.maintenance.checkpoint_cleanup import CheckpointCleanup
from workers.unet.maintenance.image_cleanup import ImageCleanup
from workers.unet.maintenance.sweep_cursors import SweepCursors
from workers.unet.maintenance.tenant_cleanup import TenantCleanup
from workers.unet.maintenance.upload_leftovers import LEFTOVER_AGE, remove_leftovers
from workers.unet.maintenance.wrong_types import drop_wrong_types

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 30.0
UPLOADS_EVERY_S = 3600

_JOB = re.compile(r"swift:job:([0-9a-f]{16})(:.*)?")


class Sweeper:
    """Sweeps every `SWEEP_EVERY_S` seconds, unless another worker has done so."""

    def __init__(
        self,
        jobs: JobStore,
        images: ImageBucket,
        loras: Bucket,
        checkpoints: CheckpointStore,
        *,
        leftover_age: timedelta = LEFTOVER_AGE,
    ) -> None:
        """``leftover_age``: unfinished uploads that are older are deleted."""
        self._jobs, self._redis, self._loras = jobs, jobs.redis, loras
        self._leftover_age = leftover_age
        self._cursors, self._releaser = SweepCursors(jobs.redis), Releaser(jobs.redis)
        self.images = ImageCleanup(jobs, images, self._cursors)
        self.broker = BrokerCleanup(jobs, self._cursors)
        self.checkpoints = CheckpointCleanup(jobs, checkpoints, self._cursors)
        self.tenants = TenantCleanup(jobs, images, loras, self._cursors)
        self._thread = PeriodicThread("sweep", SWEEP_EVERY_S, self._sweep_in_turn)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the part that runs now, without waiting for it: S3 may be slow."""
        self._thread.stop(0)

    def sweep(self) -> None:
        """Sweep everything once; a part that fails does not keep the others from running."""
        parts: list[Callable[[], object]] = [
            self.tenants.delete_tenants,
            self.images.delete_expired_images,
            self.images.delete_lost_images,
            self.images.delete_unused_control_images,
            self.checkpoints.delete_checkpoints,
            self.heal_records,
            self.forget_ended_jobs,
            self.broker.delete_messages,
            self.broker.delete_bindings,
            self.broker.delete_queues,
            self.delete_upload_leftovers,
        ]
        for part in parts:
            if self._thread.is_stopping:
                return
            try:
                part()
            except (RedisError, SwiftError) as error:
                log.warning("sweep interrupted", extra={"part": part.__name__, "error": str(error)})
                drop_wrong_types(self._redis, error)

    def heal_records(self) -> None:
        """Put every job on the lists of its status; delete what is left of jobs that are gone."""
        found = {match[1] for key in self._cursors.next_keys("swift:job:*") if (match := _JOB.fullmatch(key))}
        statuses: tuple[Status, ...] = ("queued", "running", "succeeded", "failed", "cancelled")
        models = map(str, self._redis.smembers(keys.MODELS))
        by_model = [keys.by_model(status, model) for model in models for status in ("queued", "running")]
        for index in (keys.JOBS, keys.UNSENT, keys.UNRUNNABLE, *map(keys.by_status, statuses), *by_model):
            found.update(self._cursors.next_members(index))
        self._jobs.heal(sorted(found))

    def forget_ended_jobs(self) -> None:
        """Count no jobs against tenants' caps whose records are gone."""
        for key in self._cursors.next_keys(keys.released("*")):
            self._releaser.forget_ended(key.removeprefix(keys.released("")))

    def delete_upload_leftovers(self) -> None:
        """Delete what unfinished uploads of LoRAs have left; done once an hour."""
        if self._redis.set(keys.UPLOADS_SWEPT, 1, nx=True, ex=UPLOADS_EVERY_S):
            now = datetime.fromtimestamp(self._jobs.now(), UTC)
            files, parts = remove_leftovers(self._loras, now - self._leftover_age)
            log.info("leftovers of uploads deleted", extra={"files": files, "multipart": parts})

    def _sweep_in_turn(self) -> None:
        """Sweep unless another worker has done so within the interval."""
        if self._redis.set(keys.SWEEP, 1, nx=True, px=int(SWEEP_EVERY_S * 900)):
            self.sweep()
