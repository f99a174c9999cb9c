import threading

import pytest
from redis import Redis

from shared import keys
from shared.errors import Conflict, NotFound
from shared.tenants.store import TenantStore
from shared.tenants.tenant import Tenant
from shared.webhooks.endpoint import DEFAULT, ENDED, Endpoint
from shared.webhooks.endpoint_store import MAX_ENDPOINTS, EndpointStore

URL = "https://example.com/hooks"


@pytest.fixture
def endpoints(control: Redis) -> EndpointStore:
    control.flushdb()
    return EndpointStore(control)


def create(endpoints: EndpointStore, tenant: str = "local", now: float = 1.0) -> Endpoint:
    return endpoints.create(tenant, URL, ENDED, description="", now=now)


def test_an_endpoint_is_found_by_its_tenant_alone(endpoints: EndpointStore) -> None:
    endpoint = create(endpoints, "a")
    assert endpoints.get("a", endpoint.id) == endpoint
    assert endpoints.all("a") == [endpoint]
    assert endpoints.all("b") == []
    for act in (endpoints.get, endpoints.delete, lambda t, i: endpoints.update(t, i, lambda one: one)):
        with pytest.raises(NotFound):
            act("b", endpoint.id)


def test_endpoints_are_listed_oldest_first(endpoints: EndpointStore) -> None:
    second, first = create(endpoints, now=2.0), create(endpoints, now=1.0)
    assert endpoints.all("local") == [first, second]


def test_a_tenant_has_a_bounded_number_of_endpoints(endpoints: EndpointStore) -> None:
    for _ in range(MAX_ENDPOINTS):
        create(endpoints)
    with pytest.raises(Conflict, match="at most"):
        create(endpoints)
    assert create(endpoints, "other")


def test_changes_that_meet_are_both_made(endpoints: EndpointStore) -> None:
    endpoint = create(endpoints)
    both_have_read = threading.Barrier(2, timeout=30)
    firsts = threading.local()

    def meeting(one: Endpoint, **changes: object) -> Endpoint:
        if not getattr(firsts, "done", False):
            firsts.done = True
            both_have_read.wait()
        return one.model_copy(update=changes)

    threads = [
        threading.Thread(
            target=lambda changes=changes: endpoints.update(
                "local", endpoint.id, lambda one: meeting(one, **changes)
            )
        )
        for changes in ({"description": "changed"}, {"disabled_at": 7.0})
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    changed = endpoints.get("local", endpoint.id)
    assert (changed.description, changed.disabled_at) == ("changed", 7.0)


def test_the_endpoint_of_single_jobs_is_made_once_and_listed_nowhere(endpoints: EndpointStore) -> None:
    first = endpoints.default("local", 1.0)
    assert endpoints.default("local", 2.0) == first
    assert endpoints.all("local") == []
    assert endpoints.default("other", 1.0).secrets != first.secrets
    rotated = endpoints.update("local", DEFAULT, lambda one: one.rotated(3.0))
    assert endpoints.default("local", 4.0) == rotated


def test_without_endpoints_nothing_of_a_tenant_says_that_it_has_some(
    endpoints: EndpointStore, control: Redis
) -> None:
    endpoints.default("local", 1.0)
    endpoint = create(endpoints)
    assert control.exists(keys.webhooks("local"))
    endpoints.delete("local", endpoint.id)
    assert not control.exists(keys.webhooks("local"))


def test_the_endpoints_of_a_tenant_are_deleted_with_it(endpoints: EndpointStore, control: Redis) -> None:
    tenants = TenantStore(control)
    tenants.create(Tenant(id="acme", name="", created_at=1.0))
    create(endpoints, "acme")
    tenants.delete("acme")
    assert endpoints.all("acme") == []


def test_a_record_that_cannot_be_read_hides_no_other(endpoints: EndpointStore, control: Redis) -> None:
    endpoint = create(endpoints)
    control.hset(keys.webhooks("local"), "wh_damaged", "{")
    assert endpoints.all("local") == [endpoint]
    with pytest.raises(NotFound):
        endpoints.get("local", "wh_damaged")
