"""Deliveries from their event to their end; time is told, not waited for."""

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from shared import keys
from shared.errors import InvalidRequest, NotFound
from shared.webhooks.deliveries import (
    DAMAGED_PAUSE_S,
    Delivery,
    DeliveryStore,
    NewDelivery,
    Settlement,
    server_time,
)
from shared.webhooks.endpoint import LEFT_S

DELIVERED, FAILED = Settlement("delivered", response_status=204), Settlement("failed", error="no answer")
TTL_S = 1000


class Clock:
    """Shows the time that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deliveries(control: Redis, clock: Clock) -> DeliveryStore:
    control.flushdb()
    return DeliveryStore(control, TTL_S, clock)


def event(control: Redis) -> str:
    """An entry of the stream of events."""
    return str(control.xadd(keys.WEBHOOK_EVENTS, {"any": "thing"}))


def new(n: int = 1, endpoint: str = "wh_1") -> NewDelivery:
    return NewDelivery(endpoint, f"msg_{n}", "job.succeeded", f"{n:016x}", "", "{}")


def add(deliveries: DeliveryStore, *ones: NewDelivery, tenant: str = "local") -> None:
    deliveries.add(tenant, event(deliveries.redis), ones)


def take(deliveries: DeliveryStore, lease_s: float = 60) -> Delivery:
    taken = deliveries.take((), lease_s)
    assert taken is not None
    return taken[1]


def test_an_event_becomes_deliveries_once_whoever_does_it(deliveries: DeliveryStore, control: Redis) -> None:
    entry = event(control)
    assert deliveries.add("local", entry, [new(1), new(1, "wh_2")]) == 2
    assert deliveries.add("local", entry, [new(1), new(1, "wh_2")]) == 0
    assert control.xlen(keys.WEBHOOK_EVENTS) == 0
    assert {take(deliveries).endpoint, take(deliveries).endpoint} == {"wh_1", "wh_2"}
    assert deliveries.take((), 60) is None


def test_an_event_that_nobody_wants_leaves_nothing(deliveries: DeliveryStore, control: Redis) -> None:
    add(deliveries)
    assert control.xlen(keys.WEBHOOK_EVENTS) == 0
    assert control.keys("swift:*") == [keys.WEBHOOK_EVENTS]


def test_a_delivery_is_taken_by_one_until_its_lease_ends(deliveries: DeliveryStore, clock: Clock) -> None:
    add(deliveries, new())
    first = take(deliveries, lease_s=60)
    assert deliveries.take((), 60) is None
    clock.now += 61
    second = take(deliveries)
    assert second.message_id == first.message_id
    assert not deliveries.settle("local", first, DELIVERED)
    assert deliveries.settle("local", second, FAILED)


def test_a_delivery_that_failed_once_is_due_after_its_pause(deliveries: DeliveryStore, clock: Clock) -> None:
    add(deliveries, new())
    end = Settlement("pending", 5.0, response_status=500)
    deliveries.settle("local", take(deliveries), end)
    assert deliveries.take((), 60) is None
    assert deliveries.next_due() == clock.now + 5
    clock.now += 5
    again = take(deliveries)
    assert (again.attempts, again.tries, again.response_status) == (1, 1, 500)
    assert again.next_attempt_at == clock.now


def test_an_ended_delivery_is_not_due_and_expires(deliveries: DeliveryStore, control: Redis) -> None:
    add(deliveries, new())
    deliveries.settle("local", take(deliveries), DELIVERED)
    assert deliveries.take((), 60) is None
    assert deliveries.next_due() is None
    (delivery,), _ = deliveries.page("local", "wh_1", limit=5)
    assert (delivery.status, delivery.attempts, delivery.response_status) == ("delivered", 1, 204)
    assert 0 < int(control.ttl(keys.webhook_delivery("local", "wh_1", "msg_1"))) <= TTL_S


def test_a_delivery_that_waits_does_not_expire(deliveries: DeliveryStore, control: Redis) -> None:
    add(deliveries, new())
    assert control.ttl(keys.webhook_delivery("local", "wh_1", "msg_1")) == -1


def test_what_was_not_sent_counts_as_no_attempt(deliveries: DeliveryStore) -> None:
    add(deliveries, new())
    deliveries.settle("local", take(deliveries), Settlement("failed", error="disabled", was_sent=False))
    (delivery,), _ = deliveries.page("local", "wh_1", limit=5)
    assert (delivery.attempts, delivery.last_attempt_at, delivery.error) == (0, None, "disabled")


def test_tenants_that_are_excluded_keep_nobody_waiting(deliveries: DeliveryStore, clock: Clock) -> None:
    for n in range(20):
        add(deliveries, new(n), tenant="slow")
    clock.now += 1
    add(deliveries, new(), tenant="quick")
    taken = deliveries.take({"slow"}, 60)
    assert taken is not None
    assert taken[0] == "quick"
    assert deliveries.take({"slow", "quick"}, 60) is None


def test_the_delivery_that_is_due_for_longest_comes_first(deliveries: DeliveryStore, clock: Clock) -> None:
    add(deliveries, new(1), tenant="b")
    clock.now += 1
    add(deliveries, new(2), tenant="a")
    assert [take(deliveries).message_id, take(deliveries).message_id] == ["msg_1", "msg_2"]


def test_deliveries_are_listed_in_pages_newest_first(deliveries: DeliveryStore, clock: Clock) -> None:
    for n in range(5):
        add(deliveries, new(n))
        clock.now += 1
    first, cursor = deliveries.page("local", "wh_1", limit=3)
    rest, end = deliveries.page("local", "wh_1", limit=3, cursor=cursor)
    assert [one.message_id for one in first + rest] == ["msg_4", "msg_3", "msg_2", "msg_1", "msg_0"]
    assert end is None
    with pytest.raises(InvalidRequest):
        deliveries.page("local", "wh_1", limit=3, cursor="msg_9")
    assert deliveries.page("other", "wh_1", limit=3) == ([], None)


def test_a_replay_sends_the_same_message_with_all_of_its_tries(deliveries: DeliveryStore) -> None:
    add(deliveries, new())
    before = take(deliveries)
    deliveries.settle("local", before, DELIVERED)
    assert deliveries.replay("local", "wh_1", ["msg_1"]) == 1
    again = take(deliveries)
    assert (again.message_id, again.payload) == (before.message_id, before.payload)
    assert (again.status, again.attempts, again.tries) == ("pending", 1, 0)
    assert deliveries.redis.ttl(keys.webhook_delivery("local", "wh_1", "msg_1")) == -1


def test_a_replay_of_all_takes_those_that_failed(deliveries: DeliveryStore) -> None:
    add(deliveries, new(1), new(2), new(3))
    for end in (DELIVERED, FAILED):
        deliveries.settle("local", take(deliveries), end)
    assert deliveries.replay("local", "wh_1", None) == 1


def test_a_replay_of_what_is_being_sent_waits_for_its_end(deliveries: DeliveryStore, clock: Clock) -> None:
    add(deliveries, new())
    taken = take(deliveries, lease_s=60)
    assert deliveries.replay("local", "wh_1", ["msg_1"]) == 1
    assert deliveries.take((), 60) is None
    assert deliveries.settle("local", taken, DELIVERED)


@pytest.mark.parametrize("end", [FAILED, Settlement("pending", pause_s=500, error="no answer")])
def test_a_replay_of_what_is_being_sent_is_not_lost_if_that_fails(
    deliveries: DeliveryStore, end: Settlement
) -> None:
    add(deliveries, new())
    taken = take(deliveries)
    assert deliveries.replay("local", "wh_1", ["msg_1"]) == 1
    assert deliveries.settle("local", taken, end)
    again = take(deliveries)
    assert (again.status, again.attempts, again.tries) == ("pending", 1, 0)
    assert deliveries.redis.ttl(keys.webhook_delivery("local", "wh_1", "msg_1")) == -1
    # It was replayed once
    assert deliveries.settle("local", again, FAILED)
    assert deliveries.take((), 60) is None


def test_a_replay_of_what_is_being_sent_by_a_dispatcher_that_dies_happens_once(
    deliveries: DeliveryStore, clock: Clock
) -> None:
    add(deliveries, new())
    take(deliveries, lease_s=60)
    deliveries.replay("local", "wh_1", ["msg_1"])
    clock.now += 61
    assert deliveries.settle("local", take(deliveries), FAILED)
    assert deliveries.take((), 60) is None


def test_a_replay_of_what_is_delivered_meanwhile_sends_it_no_second_time(deliveries: DeliveryStore) -> None:
    add(deliveries, new())
    taken = take(deliveries)
    deliveries.replay("local", "wh_1", ["msg_1"])
    assert deliveries.settle("local", taken, DELIVERED)
    assert deliveries.take((), 60) is None


def test_a_replay_of_unknown_or_foreign_deliveries_sends_none(deliveries: DeliveryStore) -> None:
    add(deliveries, new(1), new(2, "wh_2"))
    for tenant, endpoint, ids in (
        ("local", "wh_1", ["msg_1", "msg_2"]),
        ("other", "wh_1", ["msg_1"]),
        ("local", "wh_1", ["wh_2:msg_2"]),
    ):
        with pytest.raises(NotFound):
            deliveries.replay(tenant, endpoint, ids)


def test_a_delivery_that_was_removed_while_it_was_due_is_passed_over(
    deliveries: DeliveryStore, control: Redis
) -> None:
    add(deliveries, new(1))
    add(deliveries, new(2))
    control.delete(keys.webhook_delivery("local", "wh_1", "msg_1"))
    assert take(deliveries).message_id == "msg_2"


def test_the_servers_clock_is_the_default(control: Redis) -> None:
    store = DeliveryStore(control, TTL_S)
    assert abs(store.now() - server_time(control)) < 60


@pytest.mark.parametrize(
    "damage",
    [{"event": "paused"}, {"attempts": "many"}, {"endpoint": ""}, {"created_at": "", "message_id": ""}],
)
def test_a_delivery_that_cannot_be_read_has_failed_and_the_next_is_taken(
    deliveries: DeliveryStore, control: Redis, damage: dict[str, str]
) -> None:
    add(deliveries, new(1), new(2))
    damaged = keys.webhook_delivery("local", "wh_1", "msg_1")
    control.hset(damaged, mapping=damage)
    assert take(deliveries, lease_s=60).message_id == "msg_2"
    record = control.hgetall(damaged)
    assert record["status"] == "failed"
    assert record["error"].startswith("its record cannot be read")
    assert "token" not in record
    assert 0 < int(control.ttl(damaged)) <= TTL_S
    assert control.zrange(keys.webhook_due("local"), 0, -1) == ["wh_1:msg_2"]


def test_a_key_in_place_of_a_delivery_that_is_none_is_passed_over(
    deliveries: DeliveryStore, control: Redis
) -> None:
    add(deliveries, new(1), new(2))
    control.set(keys.webhook_delivery("local", "wh_1", "msg_1"), "x")
    assert take(deliveries).message_id == "msg_2"


def test_a_damaged_key_of_a_tenant_holds_up_no_other(
    deliveries: DeliveryStore, control: Redis, clock: Clock
) -> None:
    add(deliveries, new(1), tenant="bad")
    clock.now += 1
    add(deliveries, new(2), tenant="good")
    control.rename(keys.webhook_due("bad"), "saved")
    control.set(keys.webhook_due("bad"), "x")
    assert take(deliveries, lease_s=1000).message_id == "msg_2"
    # It is looked at again once in a while
    assert deliveries.next_due() == clock.now + DAMAGED_PAUSE_S
    control.rename("saved", keys.webhook_due("bad"))
    clock.now += DAMAGED_PAUSE_S
    assert take(deliveries).message_id == "msg_1"


def test_a_server_that_refuses_to_write_is_no_damaged_key(deliveries: DeliveryStore, control: Redis) -> None:
    add(deliveries, new(1))
    control.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            deliveries.take((), 60)
    finally:
        control.config_set("maxmemory", 0)
    assert take(deliveries).message_id == "msg_1"


def test_a_list_leaves_out_what_cannot_be_read(deliveries: DeliveryStore, control: Redis) -> None:
    add(deliveries, new(1), new(2), new(3))
    control.hset(keys.webhook_delivery("local", "wh_1", "msg_2"), "event", "job.paused")
    found, _ = deliveries.page("local", "wh_1", limit=5)
    assert sorted(one.message_id for one in found) == ["msg_1", "msg_3"]
    with pytest.raises(NotFound):
        deliveries.replay("local", "wh_1", ["msg_2"])
    assert deliveries.replay("local", "wh_1", None) == 0


def test_a_delivery_of_a_later_version_is_left_to_it(
    deliveries: DeliveryStore, control: Redis, clock: Clock
) -> None:
    # Given deliveries of an event that this version does not know, and of one that it does
    add(deliveries, new(1), new(2))
    record = keys.webhook_delivery("local", "wh_1", "msg_1")
    control.hset(record, "event", "job.paused")
    assert take(deliveries).message_id == "msg_2"
    assert deliveries.take((), 60) is None
    assert control.hget(record, "status") == "pending"
    # When it is due again, then whoever knows it sends it
    clock.now += 61
    control.hset(record, "event", "job.failed")  # as if it were known now
    assert {take(deliveries).message_id for _ in range(2)} == {"msg_1", "msg_2"}


def test_a_delivery_that_no_version_has_sent_within_a_day_can_be_replayed(
    deliveries: DeliveryStore, control: Redis, clock: Clock
) -> None:
    add(deliveries, new(1))
    record = keys.webhook_delivery("local", "wh_1", "msg_1")
    control.hset(record, "event", "job.paused")
    clock.now += LEFT_S
    assert deliveries.take((), 60) is None
    assert control.hget(record, "status") == "failed"
    control.hset(record, "event", "job.failed")  # as if it were known now
    assert deliveries.replay("local", "wh_1", None) == 1
    assert take(deliveries).message_id == "msg_1"
