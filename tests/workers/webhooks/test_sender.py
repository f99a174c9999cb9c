"""One delivery after another, to a real receiver; time is told, not waited for."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis import Redis

from shared import keys
from shared.settings import Settings
from shared.webhooks.deliveries import Delivery, DeliveryStore, NewDelivery
from shared.webhooks.endpoint import DEFAULT, EVENTS, Endpoint, Event
from shared.webhooks.endpoint_store import EndpointStore
from shared.webhooks.targets import Targets
from tests.shared.webhooks.test_deliveries import Clock
from tests.workers.webhooks.receiver import Receiver, status
from workers.webhooks.retries import HOUR_S, PAUSES_S
from workers.webhooks.sender import Sender

PAYLOAD = '{"type": "job.succeeded", "data": {"id": "1"}}'


class World:
    """A sender with all that it needs."""

    def __init__(self, control: Redis, settings: Settings, receiver: Receiver) -> None:
        self.control, self.receiver, self.clock = control, receiver, Clock()
        self.clock.now = time.time()
        self.deliveries = DeliveryStore(control, 1000, self.clock)
        self.endpoints = EndpointStore(control)
        self.settings = settings
        self.allow("127.0.0.1")

    def allow(self, *private: str, resolve: Callable[..., Any] | None = None) -> None:
        targets = Targets(private, resolve) if resolve else Targets(private)
        self.sender = Sender(self.deliveries, self.endpoints, targets, self.settings, lambda: 0.0)

    def endpoint(self, url: str | None = None) -> Endpoint:
        url = url or self.receiver.url()
        return self.endpoints.create("local", url, EVENTS, description="", now=self.clock.now)

    def deliver(self, *endpoints: str, url: str = "", n: int = 1, event: Event = "job.succeeded") -> None:
        """An event of job ``n`` for these endpoints, whose deliveries are then due."""
        entry = str(self.control.xadd(keys.WEBHOOK_EVENTS, {"any": "thing"}))
        job = f"{n:016x}"
        new = [NewDelivery(one, f"msg_{job}_{event}", event, job, url, PAYLOAD) for one in endpoints]
        self.deliveries.add("local", entry, new)

    def send_due(self) -> int:
        """Send what is due now; returns how many."""
        sent = 0
        while (taken := self.deliveries.take((), 60)) is not None:
            self.sender.send(*taken)
            sent += 1
        return sent

    def only(self, endpoint: str) -> Delivery:
        (delivery,), _ = self.deliveries.page("local", endpoint, limit=5)
        return delivery


@pytest.fixture
def world(control: Redis, servers: Settings, receiver: Receiver) -> World:
    control.flushdb()
    return World(control, servers.model_copy(update={"webhook_timeout_s": 30}), receiver)


def counted(result: str) -> float:
    return REGISTRY.get_sample_value("swift_webhook_deliveries_total", {"result": result}) or 0


def test_a_receiver_verifies_what_it_gets_with_the_secret_of_its_endpoint(world: World) -> None:
    before = counted("delivered")
    endpoint = world.endpoint()
    world.deliver(endpoint.id)
    assert world.send_due() == 1
    received = world.receiver.next()
    assert received.verified(endpoint.secrets[0].value)["type"] == "job.succeeded"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["user-agent"].startswith("swiftdiffusion/")
    delivery = world.only(endpoint.id)
    assert (delivery.status, delivery.attempts, delivery.response_status) == ("delivered", 1, 204)
    assert counted("delivered") == before + 1


def test_the_webhook_of_a_job_is_signed_with_the_secret_of_single_jobs(world: World) -> None:
    world.deliver(DEFAULT, url=world.receiver.url("/mine"))
    world.send_due()
    received = world.receiver.next()
    assert received.path == "/mine"
    assert received.verified(world.endpoints.default("local", 0).secrets[0].value)


def test_both_secrets_verify_while_one_replaces_the_other(world: World) -> None:
    endpoint = world.endpoint()
    rotated = world.endpoints.update("local", endpoint.id, lambda one: one.rotated(world.clock.now))
    world.deliver(endpoint.id)
    world.send_due()
    received = world.receiver.next()
    for secret in (endpoint.secrets[0].value, rotated.secrets[0].value):
        assert received.verified(secret)


def test_a_failing_receiver_gets_ten_tries_with_one_id_at_the_times_of_the_schedule(world: World) -> None:
    world.receiver.answer = status(500, b"no")
    endpoint = world.endpoint()
    world.deliver(endpoint.id)
    for pause_s in PAUSES_S:
        assert world.send_due() == 1
        assert world.only(endpoint.id).next_attempt_at == pytest.approx(world.clock.now + pause_s)
        world.clock.now += pause_s - 1
        assert world.send_due() == 0
        world.clock.now += 1
    assert world.send_due() == 1
    delivery = world.only(endpoint.id)
    assert (delivery.status, delivery.attempts, delivery.response_status) == ("failed", 10, 500)
    assert len({received.id for received in world.receiver.all()}) == 1
    world.clock.now += 100 * HOUR_S
    assert world.send_due() == 0


@pytest.mark.parametrize("code", [300, 301, 302, 307, 308, 400, 401, 404, 429, 500, 503])
def test_everything_but_success_is_tried_again(world: World, code: int) -> None:
    world.receiver.answer = status(code, Location=world.receiver.url("/elsewhere"))
    endpoint = world.endpoint()
    world.deliver(endpoint.id)
    world.send_due()
    assert world.only(endpoint.id).status == "pending"
    assert [received.path for received in world.receiver.all()] == ["/hooks"]
    world.receiver.answer = status(200)
    world.clock.now += PAUSES_S[0]
    world.send_due()
    assert world.only(endpoint.id).status == "delivered"


def test_retry_after_is_obeyed_within_a_day(world: World) -> None:
    endpoint = world.endpoint()
    for n, (asked, pause_s) in enumerate([("60", 60), ("1", PAUSES_S[0]), ("999999999", 24 * HOUR_S)]):
        world.receiver.answer = status(503, Retry_After=asked)
        world.deliver(endpoint.id, n=n)
        world.send_due()
        newest = world.deliveries.page("local", endpoint.id, limit=9)[0]
        (delivery,) = [one for one in newest if one.job == f"{n:016x}"]
        assert delivery.next_attempt_at == pytest.approx(world.clock.now + pause_s)


def test_gone_disables_the_endpoint_and_what_waits_is_not_sent(world: World) -> None:
    before = counted("gone")
    endpoint, other = world.endpoint(), world.endpoint(world.receiver.url("/other"))
    world.receiver.answer = lambda received, handler: status(204 if received.path == "/other" else 410)(
        received, handler
    )
    for n in range(3):
        world.deliver(endpoint.id, other.id, n=n)
    assert world.send_due() == 6
    assert world.endpoints.get("local", endpoint.id).disabled_reason == "gone"
    assert world.endpoints.get("local", other.id).disabled_at is None
    paths = [received.path for received in world.receiver.all()]
    assert (paths.count("/hooks"), paths.count("/other")) == (1, 3)
    found, _ = world.deliveries.page("local", endpoint.id, limit=9)
    assert {one.status for one in found} == {"failed"}
    assert sorted(one.attempts for one in found) == [0, 0, 1]
    assert counted("gone") == before + 1


def test_gone_ends_the_webhook_of_its_job_alone(world: World) -> None:
    world.receiver.answer = status(410)
    events: list[tuple[int, Event]] = [(1, "job.started"), (1, "job.failed"), (2, "job.failed")]
    for n, event in events:
        world.deliver(DEFAULT, url=world.receiver.url(f"/{n}"), n=n, event=event)
    assert world.send_due() == 3
    assert sorted(received.path for received in world.receiver.all()) == ["/1", "/2"]
    assert world.deliveries.replay("local", DEFAULT, None) == 3
    world.send_due()
    assert world.receiver.all() == []


def test_an_endpoint_that_was_deleted_gets_nothing_more(world: World) -> None:
    endpoint = world.endpoint()
    world.deliver(endpoint.id)
    world.endpoints.delete("local", endpoint.id)
    assert world.send_due() == 1
    assert world.receiver.all() == []
    assert world.deliveries.next_due() is None


def test_what_waits_goes_to_the_new_url_of_its_endpoint(world: World) -> None:
    endpoint = world.endpoint(world.receiver.url("/old"))
    world.deliver(endpoint.id)
    moved = world.receiver.url("/new")
    world.endpoints.update("local", endpoint.id, lambda one: one.model_copy(update={"url": moved}))
    world.send_due()
    assert world.receiver.next().path == "/new"


def test_a_replay_is_the_same_message_signed_anew(world: World) -> None:
    endpoint = world.endpoint()
    world.deliver(endpoint.id)
    world.send_due()
    first = world.receiver.next()
    world.clock.now += 100
    world.deliveries.replay("local", endpoint.id, [first.id])
    world.send_due()
    second = world.receiver.next()
    assert (second.id, second.body) == (first.id, first.body)
    assert int(second.headers["webhook-timestamp"]) == int(first.headers["webhook-timestamp"]) + 100
    assert second.verified(endpoint.secrets[0].value)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"])
def test_a_name_that_resolves_to_a_private_address_when_it_is_sent_to_is_refused(
    world: World, address: str
) -> None:
    world.allow(resolve=lambda host, port, **_: [(0, 0, 0, "", (address, port))])
    endpoint = world.endpoint(f"http://hooks.example:{world.receiver.port}/")
    world.deliver(endpoint.id)
    world.send_due()
    delivery = world.only(endpoint.id)
    assert (delivery.status, delivery.response_status) == ("pending", None)
    assert delivery.error == "its host has no public address"
    assert address not in delivery.error
    assert world.receiver.all() == []


def test_a_name_server_that_never_answers_ends_with_the_timeout_of_the_attempt(world: World) -> None:
    released = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        released.wait(60)
        return []

    world.settings = world.settings.model_copy(update={"webhook_timeout_s": 0.3})
    world.allow(resolve=hang)
    endpoint = world.endpoint("https://hooks.example/")
    world.deliver(endpoint.id)
    assert world.send_due() == 1
    assert world.only(endpoint.id).error == "the name of its host was not resolved within 0.3 s"
    released.set()


def test_a_url_that_the_settings_allow_no_more_is_not_sent_to(world: World) -> None:
    endpoint = world.endpoint()
    world.deliver(endpoint.id)
    world.allow()
    world.send_due()
    assert "private" in world.only(endpoint.id).error
    assert world.receiver.all() == []
