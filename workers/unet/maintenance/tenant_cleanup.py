"""Deletes what deleted tenants have left: jobs, LoRAs, control images, webhooks; part of the sweep."""

import logging
import re
from contextlib import suppress
from itertools import islice
from typing import Any, get_args

from shared import keys
from shared.errors import NotFound, SwiftError
from shared.jobs.record import Status
from shared.jobs.store import JobStore
from shared.storage.image_bucket import ImageBucket
from shared.storage.lora_names import folder_of
from shared.storage.object_store import Bucket
from shared.tenants.tenant import LOCAL, TENANT_ID
from workers.unet.maintenance.sweep_cursors import SweepCursors

log = logging.getLogger(__name__)

#: What one sweep deletes of each kind, of all tenants together; and of each tenant at least.
AT_ONCE, AT_ONCE_OF_TENANT = 1000, 10
#: How long a deleted tenant is looked at again: what was under way when it was deleted may still arrive, a
#: submission with a key that a process of the API has not forgotten, an upload, a worker's image.
ARRIVALS_S = 24 * 3600


class TenantCleanup:
    """Deletes a bounded part of it in each sweep; what is left says where the next one goes on."""

    def __init__(
        self,
        jobs: JobStore,
        images: ImageBucket,
        loras: Bucket,
        cursors: SweepCursors,
        *,
        at_once: int = AT_ONCE,
    ) -> None:
        self._jobs, self._redis, self._at_once = jobs, jobs.redis, at_once
        self._images, self._loras, self._cursors = images, loras, cursors

    def delete_tenants(self) -> None:
        """Delete the next part of what each deleted tenant has left."""
        tenants = [one for one in self._cursors.next_members(keys.TENANTS_DELETING) if self._is_deleted(one)]
        for tenant in tenants:
            limit = max(self._at_once // len(tenants), AT_ONCE_OF_TENANT)
            try:
                if not self._delete_part(tenant, limit):
                    self._delete_rest(tenant)
            except SwiftError as error:  # S3 does not let us: the others are not to wait for that
                log.warning("tenant not deleted yet", extra={"tenant": tenant, "error": str(error)})

    def _is_deleted(self, tenant: str) -> bool:
        """Whether a tenant was deleted: all is lost of one that is named here by mistake."""
        if tenant == LOCAL or not re.fullmatch(TENANT_ID, tenant):
            return False
        pipe = self._redis.pipeline(transaction=False)
        pipe.sismember(keys.TENANTS_DELETED, tenant)
        pipe.exists(keys.tenant(tenant))
        was_deleted, exists = pipe.execute()
        return bool(was_deleted and not exists)

    def _delete_part(self, tenant: str, limit: int) -> int:
        """Delete up to ``limit`` of each kind; returns how many there were."""
        found = {
            "jobs": self._delete_jobs(tenant, limit),
            "deliveries": self._delete_deliveries(tenant, limit),
            "control_images": self._delete_control_images(tenant, limit),
            "loras": self._delete_loras(tenant, limit),
        }
        if any(found.values()):
            log.info("part of a tenant deleted", extra={"tenant": tenant, **found})
        return sum(found.values())

    def _delete_jobs(self, tenant: str, limit: int) -> int:
        """Cancel jobs that have not ended, and delete all; the sweep's next parts delete their images."""
        statuses: tuple[Status, ...] = get_args(Status)
        ids: Any = self._redis.zrange(keys.jobs_of(tenant), 0, limit - 1)
        for job_id in ids:
            with suppress(NotFound):  # its record has expired
                self._jobs.delete(job_id, tenant=tenant)
        if ids:
            pipe = self._redis.pipeline(transaction=False)
            for index in (keys.jobs_of(tenant), *(f"{keys.jobs_of(tenant)}:{one}" for one in statuses)):
                pipe.zrem(index, *ids)
            pipe.execute()
        return len(ids)

    def _delete_deliveries(self, tenant: str, limit: int) -> int:
        """Delete webhooks that were to be sent; those that were sent expire by themselves."""
        due: Any = self._redis.zrange(keys.webhook_due(tenant), 0, limit - 1)
        pipe = self._redis.pipeline(transaction=False)
        for member in due:
            endpoint, _, message_id = member.partition(":")
            pipe.delete(keys.webhook_delivery(tenant, endpoint, message_id))
            pipe.zrem(keys.webhook_due(tenant), member)
        pipe.execute()
        return len(due)

    def _delete_control_images(self, tenant: str, limit: int) -> int:
        prefix = keys.control_prefix(tenant)
        found = [stat.key for stat in islice(self._images.list(prefix), limit)]
        for key in found:
            self._images.delete(key)
            self._redis.zrem(keys.CONTROL_IMAGES, keys.control_name(key) or "")
        return len(found)

    def _delete_loras(self, tenant: str, limit: int) -> int:
        """Delete all objects in the tenant's folder, also those that are no LoRAs."""
        found = [stat.key for stat in islice(self._loras.list(folder_of(tenant)), limit)]
        for key in found:
            self._loras.delete(key)
        return len(found)

    def _delete_rest(self, tenant: str) -> None:
        """Delete what may have come back since the tenant was deleted; after a day that is done."""
        deleted_at: Any = self._redis.zscore(keys.TENANTS_DELETING, tenant)
        pipe = self._redis.pipeline()
        pipe.delete(
            keys.tenant_key_uses(tenant),
            keys.tenant_events(tenant),
            keys.webhooks(tenant),
            keys.webhook_default(tenant),
            keys.webhook_due(tenant),
            keys.share(tenant),
        )
        pipe.zrem(keys.WEBHOOK_TENANTS, tenant)
        pipe.srem(keys.WEBHOOK_OWNERS, tenant)
        is_over = deleted_at is None or self._jobs.now() - float(deleted_at) > ARRIVALS_S
        if is_over:
            pipe.zrem(keys.TENANTS_DELETING, tenant)
        pipe.execute()
        if is_over:
            log.info("tenant deleted", extra={"tenant": tenant})
