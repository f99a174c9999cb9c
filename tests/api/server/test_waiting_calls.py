"""Calls that wait for their jobs, in a real Redis."""

from api.server.waiting_calls import LEASE_S, RENEWAL_S, WaitingCalls
from api.services import Services
from shared import keys
from shared.jobs.events import BLOCK_S, START, WATCH_S


def test_a_tenant_s_calls_are_listed_until_they_end(services: Services) -> None:
    calls = WaitingCalls(services.control)
    for tenant, job_id in (("acme", "a"), ("acme", "b"), ("globex", "c")):
        calls.renew(tenant, job_id)
    assert sorted(calls.read("acme")) == ["a", "b"]
    calls.end("acme", "a")
    assert WaitingCalls(services.control).read("acme") == ["b"]


def test_a_call_whose_process_is_gone_is_forgotten(services: Services) -> None:
    calls, name = WaitingCalls(services.control), keys.waiting_calls("acme")
    calls.renew("acme", "lost")
    services.control.zincrby(name, -LEASE_S - 1, "lost")
    assert calls.read("acme") == []
    calls.renew("acme", "new")
    assert services.control.zrange(name, 0, -1) == ["new"]
    assert 0 < services.control.ttl(name) <= LEASE_S
    assert RENEWAL_S < LEASE_S


def test_workers_make_previews_for_a_call_as_long_as_it_waits(services: Services) -> None:
    WaitingCalls(services.control).renew("acme", "a")
    assert 0 < services.control.ttl(keys.watched("a")) <= WATCH_S
    assert RENEWAL_S + BLOCK_S < WATCH_S


def test_a_call_is_told_an_event_before_the_end_of_its_job(services: Services) -> None:
    calls, events = WaitingCalls(services.control), keys.events("a")
    assert calls.renew("acme", "a") == START
    first, end = (services.control.xadd(events, {"type": kind, "data": "{}"}) for kind in ("status", "done"))
    assert calls.renew("acme", "a") == first
    services.control.xtrim(events, minid=end, approximate=False)
    assert calls.renew("acme", "a") == START
