"""Slots that tenants share."""

import pytest

from api.server.tenant_slots import TenantSlots
from shared.errors import LimitExceeded, Unavailable
from shared.keys import LOCAL


def slots_of(count: int) -> TenantSlots:
    return TenantSlots(count, policy="event_streams", what="event streams")


def test_a_tenant_that_has_its_share_is_refused_and_others_are_served() -> None:
    slots = slots_of(8)
    for _ in range(2):
        slots.take("acme")
    with pytest.raises(LimitExceeded, match="has 2 event streams in this process") as error:
        slots.take("acme")
    assert (error.value.policy, error.value.limit) == ("event_streams", 2)
    with slots.slot("globex"):
        pass
    # What was given back may be taken again
    slots.give_back("acme")
    slots.take("acme")


def test_all_tenants_together_have_no_more_than_all() -> None:
    slots = slots_of(4)
    for tenant in "abcd":
        slots.take(tenant)
    for tenant in ("e", LOCAL):
        with pytest.raises(Unavailable):
            slots.take(tenant)
    slots.give_back("a")
    slots.take("e")


def test_the_tenant_without_limits_may_have_all() -> None:
    slots = slots_of(3)
    for _ in range(3):
        slots.take(LOCAL)
    with pytest.raises(Unavailable):
        slots.take(LOCAL)


def test_a_share_is_never_less_than_one() -> None:
    with slots_of(1).slot("acme"):
        pass
