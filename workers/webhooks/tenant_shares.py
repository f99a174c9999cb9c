"""How many of a fixed number of threads each tenant may use, so that slow receivers leave some free."""

import time
from collections import Counter
from collections.abc import Callable

#: Of one tenant at most so many at once.
OF_A_TENANT = 8
#: A tenant is slow after a call that took longer, until a quicker one, or for so long.
SLOW_S, SLOW_FOR_S = 2.0, 60.0


class TenantShares:
    """Counts the threads that each tenant uses. Not thread-safe.

    A tenant may use at most half of what it would leave free, and `OF_A_TENANT`, but always one while there
    is one: however many tenants have come, the next one finds some. Slow tenants together may use half of
    all; the other half is there for those that are not.
    """

    def __init__(self, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._threads = threads
        self._clock = clock
        self._used: Counter[str] = Counter()
        self._slow: dict[str, float] = {}  # tenant: until when

    def full(self) -> set[str] | None:
        """Tenants that may begin nothing now; ``None``: nobody may."""
        free = self._threads - self._used.total()
        if free <= 0:
            return None
        now = self._clock()
        self._slow = {tenant: until for tenant, until in self._slow.items() if until > now}
        used_by_slow = sum(self._used[tenant] for tenant in self._slow)
        free_for_slow = min(free, self._threads // 2 - used_by_slow)
        limit, slow_limit = _limit(free), _limit(free_for_slow)
        return {
            tenant
            for tenant in {*self._used, *self._slow}
            if self._used[tenant] >= (slow_limit if tenant in self._slow else limit)
        }

    def begin(self, tenant: str) -> Callable[[], None]:
        """Count a thread for a tenant; returns what is called once at its end."""
        self._used[tenant] += 1
        began = self._clock()

        def end() -> None:
            self._used[tenant] -= 1
            if not self._used[tenant]:
                del self._used[tenant]
            now = self._clock()
            if now - began > SLOW_S:
                self._slow[tenant] = now + SLOW_FOR_S
            else:
                self._slow.pop(tenant, None)

        return end


def _limit(free: int) -> int:
    """What one tenant may use while so many threads are free."""
    return max(1, min(OF_A_TENANT, free // 2)) if free > 0 else 0
