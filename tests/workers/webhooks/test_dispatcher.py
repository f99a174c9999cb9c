"""The dispatcher's threads: what is sent at once, and for whom."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis import Redis

from shared import keys
from shared.settings import Settings
from shared.webhooks.deliveries import Delivery, DeliveryStore, Settlement
from shared.webhooks.endpoint import JobWebhook
from shared.webhooks.endpoint_store import EndpointStore
from workers.webhooks.dispatcher import SENDERS, Dispatcher
from workers.webhooks.job_events import JobEvents
from workers.webhooks.tenant_shares import OF_A_TENANT

WAIT_S = 60


@pytest.fixture
def deliveries(control: Redis) -> DeliveryStore:
    control.flushdb()
    return DeliveryStore(control, 1000)


def add(deliveries: DeliveryStore, tenant: str, count: int) -> None:
    """Events of as many jobs with webhooks of their own."""
    webhook = JobWebhook(url="https://example.com/").model_dump_json()
    for n in range(count):
        fields = {"event": "job.failed", "job": f"{n:016x}", "tenant": tenant, "at": "1", "webhook": webhook}
        deliveries.redis.xadd(keys.WEBHOOK_EVENTS, fields)


class HangingSender:
    """Sends nothing to the tenants ``hanging`` until it is released."""

    def __init__(self, deliveries: DeliveryStore, *hanging: str) -> None:
        self._deliveries, self._hanging = deliveries, hanging
        self.released = threading.Event()
        self.sent: list[tuple[str, str]] = []
        self.changed = threading.Condition()
        self.hang = 0

    def __call__(self, tenant: str, delivery: Delivery) -> None:
        if tenant in self._hanging:
            with self.changed:
                self.hang += 1
                self.changed.notify_all()
            self.released.wait(WAIT_S)
        self._deliveries.settle(tenant, delivery, Settlement("delivered"))
        with self.changed:
            self.sent.append((tenant, delivery.message_id))
            self.changed.notify_all()

    def await_hanging(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.hang >= count, WAIT_S)

    def await_sent(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.sent) >= count, WAIT_S)


@contextmanager
def running(deliveries: DeliveryStore, sender: HangingSender) -> Iterator[None]:
    redis = deliveries.redis
    events = JobEvents(redis, deliveries, EndpointStore(redis), "")
    dispatcher = Dispatcher(events, deliveries, sender, lease_s=WAIT_S)
    stopping = threading.Event()
    thread = threading.Thread(target=dispatcher.run, args=(stopping,))
    thread.start()
    try:
        yield
    finally:
        sender.released.set()
        stopping.set()
        thread.join()
        dispatcher.close()


def test_receivers_that_hang_hold_up_no_other_tenants(deliveries: DeliveryStore, servers: Settings) -> None:
    add(deliveries, "slow", 3 * SENDERS)
    sender = HangingSender(deliveries, "slow")
    with running(deliveries, sender):
        add(deliveries, "quick", 5)
        sender.await_sent(5)
        assert {tenant for tenant, _ in sender.sent} == {"quick"}
        sender.await_hanging(OF_A_TENANT)  # their threads may begin after that of the other tenant
        assert sender.hang == OF_A_TENANT
        sender.released.set()
        sender.await_sent(5 + 3 * SENDERS)
    assert len(set(sender.sent)) == 5 + 3 * SENDERS


def test_receivers_of_five_tenants_that_hang_hold_up_no_sixth(
    deliveries: DeliveryStore, servers: Settings
) -> None:
    slow = [f"slow{n}" for n in range(5)]
    for tenant in slow:
        add(deliveries, tenant, SENDERS)
    sender = HangingSender(deliveries, *slow)
    with running(deliveries, sender):
        sender.await_hanging(OF_A_TENANT * 2 + 3)  # the first tenants have all that they may
        add(deliveries, "quick", 5)
        sender.await_sent(5)
        assert {tenant for tenant, _ in sender.sent} == {"quick"}


def test_two_dispatchers_send_each_delivery_once(deliveries: DeliveryStore, servers: Settings) -> None:
    sender = HangingSender(deliveries)
    with running(deliveries, sender), running(deliveries, sender):
        for tenant in ("a", "b", "c"):
            add(deliveries, tenant, 40)
        sender.await_sent(120)
    assert len(sender.sent) == len(set(sender.sent)) == 120


def test_a_sender_that_raises_leaves_its_delivery_due_again(
    deliveries: DeliveryStore, servers: Settings
) -> None:
    add(deliveries, "local", 2)
    sender = HangingSender(deliveries)
    calls = []

    def failing_first(tenant: str, delivery: Delivery) -> None:
        calls.append(delivery.message_id)
        if len(calls) == 1:
            raise RuntimeError("a bug")
        sender(tenant, delivery)

    redis = deliveries.redis
    events = JobEvents(redis, deliveries, EndpointStore(redis), "")
    dispatcher = Dispatcher(events, deliveries, failing_first, lease_s=WAIT_S)
    events.expand(0.001)
    dispatcher.start_due()
    sender.await_sent(1)
    dispatcher.close()
    assert len(sender.sent) == 1
    assert deliveries.next_due() is not None
