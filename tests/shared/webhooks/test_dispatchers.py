"""Whether webhooks are sent, by what the control Redis knows."""

import pytest
from redis import Redis

from shared import keys
from shared.metrics import publish
from shared.tenants.store import TenantStore
from shared.tenants.tenant import Tenant
from shared.webhooks.dispatchers import PREFIX, read_dispatcher_state
from shared.webhooks.endpoint import ENDED
from shared.webhooks.endpoint_store import EndpointStore


@pytest.fixture
def endpoints(control: Redis) -> EndpointStore:
    control.flushdb()
    return EndpointStore(control)


def has_webhooks(control: Redis) -> bool:
    return read_dispatcher_state(control).has_webhooks


def test_a_dispatcher_counts_while_its_metrics_are_published(
    endpoints: EndpointStore, control: Redis
) -> None:
    for name in ("api@host-1", f"{PREFIX}a-1", f"{PREFIX}b-1"):
        publish(control, name, 60)
    assert read_dispatcher_state(control).dispatchers == 2
    control.zadd(keys.PUBLISHERS, {f"{PREFIX}a-1": 1.0})  # as if it had died
    assert read_dispatcher_state(control).dispatchers == 1


def test_there_are_webhooks_until_the_last_one_of_the_last_tenant_is_deleted(
    endpoints: EndpointStore, control: Redis
) -> None:
    assert not has_webhooks(control)
    made = [(tenant, endpoints.create(tenant, "u", ENDED, description="", now=1.0).id) for tenant in "aab"]
    for tenant, endpoint_id in made:
        assert has_webhooks(control)
        endpoints.delete(tenant, endpoint_id)
    assert not has_webhooks(control)


def test_those_of_a_deleted_tenant_do_not_count(endpoints: EndpointStore, control: Redis) -> None:
    TenantStore(control).create(Tenant(id="acme", created_at=1.0))
    endpoints.create("acme", "u", ENDED, description="", now=1.0)
    TenantStore(control).delete("acme")
    assert not has_webhooks(control)


def test_nothing_is_wrong_without_a_dispatcher_while_there_is_nothing_to_send(
    endpoints: EndpointStore, control: Redis
) -> None:
    assert read_dispatcher_state(control).problem is None
    control.xadd(keys.WEBHOOK_EVENTS, {"event": "job.failed"})  # of a job's own webhook
    problem = read_dispatcher_state(control).problem
    assert problem is not None
    assert "1 events wait" in problem
    publish(control, f"{PREFIX}a-1", 60)
    assert read_dispatcher_state(control).problem is None
