"""The bytes of LoRAs that a tenant may have: checked before a file is received and when it is published."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from redis.exceptions import LockNotOwnedError

from shared import keys
from shared.errors import LimitExceeded, Unavailable
from shared.keys import LOCAL
from shared.storage.lora_names import folder_of
from shared.storage.object_store import Bucket

if TYPE_CHECKING:
    from redis import Redis

POLICY = "lora_bytes"
#: One publication at a time of a tenant that has this limit, for at most so long; others wait for a while.
LOCK_S, WAIT_S = 360, 20


class LoraQuota:
    """Compares what a tenant has in its folder of the bucket with its limit."""

    def __init__(self, bucket: Bucket, control: "Redis") -> None:
        self._bucket, self._control = bucket, control

    def left(self, tenant: str, key: str) -> int | None:
        """The largest size that the object ``key`` of the tenant may have; ``None``: any."""
        limit = self._limit(tenant)
        if limit is None:
            return None
        others = (stat.size_bytes for stat in self._bucket.list(folder_of(tenant)) if stat.key != key)
        return limit - sum(others)

    def check(self, tenant: str, key: str, size_bytes: int) -> None:
        """Raise `LimitExceeded` where the object would not fit."""
        left = self.left(tenant, key)
        if left is not None and size_bytes > left:
            limit = self._limit(tenant) or 0
            raise LimitExceeded(
                f"of {limit} bytes of LoRAs this tenant has {max(left, 0)} left, the file has {size_bytes}:"
                " delete one first",
                policy=POLICY,
                limit=limit,
                remaining=max(left, 0),
            )

    @contextmanager
    def publishing(self, tenant: str, key: str, size_bytes: int) -> Iterator[None]:
        """Within the block the object fits: no other of the tenant is published meanwhile.

        Raises `LimitExceeded`, and `Unavailable` while others are published.
        """
        if self._limit(tenant) is None:
            yield
            return
        lock = self._control.lock(
            keys.lora_uploads(tenant), timeout=LOCK_S, blocking_timeout=WAIT_S, thread_local=False
        )
        if not lock.acquire():
            raise Unavailable("other LoRAs of this tenant are being published right now")
        try:
            self.check(tenant, key, size_bytes)
            yield
        finally:
            with suppress(LockNotOwnedError):  # it took longer than the lock is held
                lock.release()

    def _limit(self, tenant: str) -> int | None:
        limit = None if tenant == LOCAL else self._control.hget(keys.tenant(tenant), "lora_bytes")
        return None if limit is None else int(str(limit))
