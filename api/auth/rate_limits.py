"""Requests per second of each tenant, counted in the control Redis for all API processes together."""

import math
import time
from typing import TYPE_CHECKING

from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from api.auth.tenant_cache import TenantCache
from shared import keys
from shared.errors import NotFound, TooManyRequests
from shared.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

#: Name of the limit in ``RateLimit`` headers.
POLICY = "requests"


class RateLimits:
    """A sliding window of a second; a tenant without a limit costs no call of Redis."""

    def __init__(self, settings: Settings, control: "Redis", tenants: TenantCache) -> None:
        storage = RedisStorage(
            settings.redis_url, connection_pool=control.connection_pool, key_prefix=keys.RATE_LIMITS
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._tenants = tenants

    def count(self, tenant: str) -> None:
        """Count a request of ``tenant``; raises `TooManyRequests`."""
        limit = self._limit_of(tenant)
        if limit is None:
            return
        item = RateLimitItemPerSecond(limit)
        if not self._limiter.hit(item, tenant):
            resets_at = self._limiter.get_window_stats(item, tenant).reset_time
            raise TooManyRequests(
                f"tenant {tenant!r} may send {limit} requests a second",
                policy=POLICY,
                limit=limit,
                window_s=1,
                retry_after_s=max(1, math.ceil(resets_at - time.time())),
            )

    def _limit_of(self, tenant: str) -> int | None:
        try:
            return self._tenants.get(tenant).limits.requests_per_s
        except NotFound:
            return None  # deleted this moment: its keys are gone, too
