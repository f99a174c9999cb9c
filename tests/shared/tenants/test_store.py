"""Tenants in a real Redis."""

import pytest
from redis import Redis

from shared import keys
from shared.errors import Conflict, NotFound
from shared.tenants.api_key import ApiKey
from shared.tenants.key_store import KeyStore, StoredKey
from shared.tenants.store import TenantStore
from shared.tenants.tenant import LOCAL, Tenant, TenantLimits

ACME = Tenant(
    id="acme",
    name="Acme Inc.",
    created_at=1_700_000_000.25,
    weight=2.5,
    priorities=("normal", "batch"),
    limits=TenantLimits(requests_per_s=5, max_waiting_jobs=0, pixel_steps_per_day=1 << 40),
)


@pytest.fixture
def store(control: "Redis") -> TenantStore:
    return TenantStore(control)


def test_a_tenant_is_read_as_it_was_stored(store: TenantStore) -> None:
    store.create(ACME)
    assert store.get("acme") == ACME
    assert store.get(LOCAL) == Tenant.local()


def test_scripts_find_a_limit_as_a_field_and_none_where_there_is_no_limit(
    store: TenantStore, control: "Redis"
) -> None:
    store.create(ACME)
    limits = control.hmget(keys.tenant("acme"), ["max_waiting_jobs", "max_running_jobs", "weight"])
    assert limits == ["0", None, "2.5"]


@pytest.mark.parametrize("tenant_id", ["nobody", "", "acme:keys", "acme\n", "Acme", "x" * 33])
def test_an_id_that_is_nobodys_is_not_found(store: TenantStore, tenant_id: str) -> None:
    store.create(ACME)
    for act in (store.get, store.delete, lambda one: store.change(one, lambda tenant: tenant)):
        with pytest.raises(NotFound):
            act(tenant_id)


def test_a_change_replaces_limits_and_takes_them_away(store: TenantStore) -> None:
    store.create(ACME)
    limits = TenantLimits(max_running_jobs=1)
    changed = store.change("acme", lambda tenant: tenant.model_copy(update={"weight": 1.0, "limits": limits}))
    assert store.get("acme") == changed
    assert (changed.weight, changed.limits, changed.name) == (1.0, limits, "Acme Inc.")


def test_an_id_is_given_once(store: TenantStore) -> None:
    store.create(ACME)
    with pytest.raises(Conflict, match="already"):
        store.create(ACME)
    store.delete("acme")
    with pytest.raises(Conflict, match="was deleted"):
        store.create(ACME)
    with pytest.raises(NotFound):
        store.get("acme")


def test_a_deleted_tenant_leaves_no_key(store: TenantStore, control: "Redis") -> None:
    store.create(ACME)
    made, stored = ApiKey.random(), KeyStore(control)
    key = StoredKey(id=made.id, tenant="acme", scopes=("jobs",), sha256=made.sha256, created_at=1.0)
    stored.add(key)
    stored.note_use(key, 2.0)
    store.delete("acme")
    assert stored.find(made.id) is None
    assert control.keys("swift:tenant:acme*") == control.keys("swift:api_key:*") == []


def test_local_cannot_be_made_changed_or_deleted(store: TenantStore) -> None:
    with pytest.raises(Conflict):
        store.create(Tenant.local())
    with pytest.raises(Conflict):
        store.change(LOCAL, lambda tenant: tenant)
    with pytest.raises(Conflict):
        store.delete(LOCAL)


def test_pages_are_in_the_order_of_ids(store: TenantStore) -> None:
    for name in ("c", "a", "b-1", "b"):
        store.create(Tenant(id=name, created_at=1.0))
    first = store.page(after="", limit=2)
    assert [tenant.id for tenant in first] == ["a", "b"]
    assert [tenant.id for tenant in store.page(after="b", limit=9)] == ["b-1", "c"]
