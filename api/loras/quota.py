"""The bytes of LoRAs that a tenant may have: checked before a file is received and when it is published.

A form that S3 takes a file by is valid for a while, whatever arrives meanwhile: so files that were uploaded
and not published count before another is received, and a tenant has so many valid forms at most.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from redis.exceptions import LockNotOwnedError

from shared import keys
from shared.errors import LimitExceeded, Unavailable
from shared.keys import LOCAL
from shared.storage.lora_names import STAGED, folder_of
from shared.storage.object_store import Bucket

if TYPE_CHECKING:
    from redis import Redis

POLICY, FORMS_POLICY = "lora_bytes", "lora_upload_forms"
#: One publication at a time of a tenant that has this limit, for at most so long; others wait for a while.
LOCK_S, WAIT_S = 360, 20
#: Forms that are valid at once of a tenant whose bytes are limited. Those of completed uploads count, too:
#: they would take another file.
MAX_FORMS = 100


class LoraQuota:
    """Compares what a tenant has in its folder of the bucket with its limit."""

    def __init__(self, bucket: Bucket, control: "Redis") -> None:
        self._bucket, self._control = bucket, control

    def left(self, tenant: str, key: str, size_bytes: int) -> int | None:
        """The largest size that the object ``key`` of the tenant may have, which is about to arrive.

        ``None``: any. Raises `LimitExceeded` if that is less than ``size_bytes``.
        """
        limit = self._limit(tenant)
        if limit is None:
            return None
        staged = sum(stat.size_bytes for stat in self._bucket.list(STAGED + folder_of(tenant)))
        left = limit - self._published(tenant, key) - staged
        unpublished = f"; {staged} bytes are of uploads that were not completed, which go in a day"
        _check(size_bytes, left, limit, unpublished if staged else "")
        return left

    def open_form(self, tenant: str, upload: str, valid_s: int) -> None:
        """Count a form that the tenant may upload by for ``valid_s``; raises `LimitExceeded`."""
        if self._limit(tenant) is None:
            return
        name, now = keys.upload_forms(tenant), time.time()
        pipe = self._control.pipeline()
        pipe.zremrangebyscore(name, 0, now)
        pipe.zadd(name, {upload: now + valid_s})
        pipe.zcard(name)
        pipe.zrange(name, 0, 0, withscores=True)
        pipe.expire(name, valid_s)
        _, _, count, [(_, first_ends_at)], _ = pipe.execute()
        if count > MAX_FORMS:
            self._control.zrem(name, upload)
            raise LimitExceeded(
                f"this tenant has {MAX_FORMS} forms to upload LoRAs by, begun within the last {valid_s} s:"
                " PUT the file, or wait",
                policy=FORMS_POLICY,
                limit=MAX_FORMS,
                window_s=valid_s,
                retry_after_s=max(1, math.ceil(first_ends_at - now)),
            )

    @contextmanager
    def publishing(self, tenant: str, key: str, size_bytes: int) -> Iterator[None]:
        """Within the block the object fits: no other of the tenant is published meanwhile.

        Raises `LimitExceeded`, and `Unavailable` while others are published.
        """
        limit = self._limit(tenant)
        if limit is None:
            yield
            return
        lock = self._control.lock(
            keys.lora_uploads(tenant), timeout=LOCK_S, blocking_timeout=WAIT_S, thread_local=False
        )
        if not lock.acquire():
            raise Unavailable("other LoRAs of this tenant are being published right now")
        try:
            _check(size_bytes, limit - self._published(tenant, key), limit)
            yield
        finally:
            with suppress(LockNotOwnedError):  # it took longer than the lock is held
                lock.release()

    def _published(self, tenant: str, key: str) -> int:
        """Bytes of the tenant's LoRAs but ``key``, which is replaced."""
        return sum(stat.size_bytes for stat in self._bucket.list(folder_of(tenant)) if stat.key != key)

    def _limit(self, tenant: str) -> int | None:
        limit = None if tenant == LOCAL else self._control.hget(keys.tenant(tenant), "lora_bytes")
        return None if limit is None else int(str(limit))


def _check(size_bytes: int, left: int, limit: int, unpublished: str = "") -> None:
    if size_bytes > left:
        raise LimitExceeded(
            f"of {limit} bytes of LoRAs this tenant has {max(left, 0)} left, the file has {size_bytes}:"
            f" delete one first{unpublished}",
            policy=POLICY,
            limit=limit,
            remaining=max(left, 0),
        )
