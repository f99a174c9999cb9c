"""Keeps in memory what the store says of tenants: each request asks for a tenant's limits or priorities."""

from threading import Lock

from cachetools import TTLCache

from shared.tenants.store import TenantStore
from shared.tenants.tenant import Tenant

#: Tenants that are kept.
KEPT = 10_000


class TenantCache:
    """What was stored of a tenant at most ``auth_cache_s`` ago, as of its keys."""

    def __init__(self, tenants: TenantStore, auth_cache_s: float) -> None:
        self._tenants = tenants
        self._lock = Lock()
        self._known: TTLCache[str, Tenant] = TTLCache(KEPT, auth_cache_s)

    def get(self, tenant_id: str) -> Tenant:
        """The tenant of that id; raises `NotFound`, which is not kept."""
        with self._lock:
            found: Tenant | None = self._known.get(tenant_id)
        if found is None:
            found = self._tenants.get(tenant_id)
            with self._lock:
                self._known[tenant_id] = found
        return found
