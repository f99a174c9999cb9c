"""Limits what an API process does at once for all tenants together, and what one of them may have of it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from shared.errors import LimitExceeded, Unavailable
from shared.keys import LOCAL

#: A tenant may have one of so many parts: it does not keep the others out.
PARTS = 4


class TenantSlots:
    """So many slots of one kind. `LOCAL`, which has no limits, may have all; any other tenant a quarter."""

    def __init__(self, slots: int, *, policy: str, what: str) -> None:
        """``policy`` names the limit in headers, ``what`` in sentences."""
        self._slots, self._policy, self._what = slots, policy, what
        self._share = max(1, slots // PARTS)
        self._lock = Lock()
        self._taken: Counter[str] = Counter()

    def take(self, tenant: str) -> None:
        """Take a slot, which `give_back` ends.

        Raises `LimitExceeded` if the tenant has its share already, and `Unavailable` if all are taken.
        """
        with self._lock:
            if tenant != LOCAL and self._taken[tenant] >= self._share:
                raise LimitExceeded(
                    f"this tenant has {self._share} {self._what} in this process, a quarter of all:"
                    " it may have no more at once",
                    policy=self._policy,
                    limit=self._share,
                )
            if self._taken.total() >= self._slots:
                raise Unavailable(f"this process has {self._slots} {self._what}, and takes no more at once")
            self._taken[tenant] += 1

    def give_back(self, tenant: str) -> None:
        """End what a slot was taken for."""
        with self._lock:
            self._taken[tenant] -= 1
            if not self._taken[tenant]:
                del self._taken[tenant]

    @contextmanager
    def slot(self, tenant: str) -> Iterator[None]:
        """A slot for the block; raises what `take` does."""
        self.take(tenant)
        try:
            yield
        finally:
            self.give_back(tenant)
