import pytest
from redis import Redis

from api.auth.tenant_cache import TenantCache
from shared import keys
from shared.errors import NotFound
from shared.tenants.store import TenantStore
from shared.tenants.tenant import Tenant


def acme(control: Redis) -> TenantStore:
    store = TenantStore(control)
    control.delete(keys.tenant("acme"))
    control.srem(keys.TENANTS_DELETED, "acme")
    store.create(Tenant(id="acme", created_at=0.0, priorities=("normal",)))
    return store


def lower(tenant: Tenant) -> Tenant:
    return tenant.model_copy(update={"priorities": ("batch",)})


def test_a_tenant_is_read_once_within_the_time_that_is_set(control: Redis) -> None:
    store = acme(control)
    kept, never = TenantCache(store, 3600), TenantCache(store, 0)
    assert kept.get("acme").priorities == never.get("acme").priorities == ("normal",)
    store.change("acme", lower)
    assert kept.get("acme").priorities == ("normal",)
    assert never.get("acme").priorities == ("batch",)


def test_that_there_is_no_such_tenant_is_not_kept(control: Redis) -> None:
    cache = TenantCache(TenantStore(control), 3600)
    control.delete(keys.tenant("acme"))
    with pytest.raises(NotFound):
        cache.get("acme")
    acme(control)
    assert cache.get("acme").id == "acme"
