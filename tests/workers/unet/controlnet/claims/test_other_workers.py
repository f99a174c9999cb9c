"""What a worker with a job knows of those that could serve its ControlNets."""

from collections.abc import Collection, Iterator
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from infra.bench.harness.ports import free_ports
from shared.redis_clients import without_retries
from shared.registry.controlnet_servers import Served, ServerRegistration
from tests.counting_redis import CountingRedis
from tests.infra.local.waiting import eventually
from workers.unet.controlnet.claims.other_workers import ASKED_S, KNOWN_S, READ_EVERY_S, OtherWorkers

EDGE, DEPTH = Served("edge"), Served("depth")


@pytest.fixture
def registry(control: Redis) -> Iterator[Redis]:
    control.flushall()
    yield control
    control.flushall()


def register(
    redis: Redis, *controlnets: str, worker: str = "unet2@test", platform: str = "here"
) -> ServerRegistration:
    """A worker that serves these now."""
    registration = ServerRegistration(redis, lambda: controlnets, lambda: platform, 60)
    registration.renew(worker)
    return registration


def knows(redis: Redis, wanted: Collection[Served] = (EDGE, DEPTH), **options: Any) -> OtherWorkers:
    """One that has read who could serve these."""
    others = OtherWorkers(redis, **options)
    others.read(wanted)
    return others


def test_before_the_registry_was_read_anybody_may_serve(registry: Redis) -> None:
    assert OtherWorkers(registry).may_serve("edge")


def test_one_that_has_registered_may_serve_that_on_its_platform(registry: Redis) -> None:
    register(registry, "edge")
    others = knows(registry, [EDGE, DEPTH, Served("edge", "here"), Served("edge", "there")])
    assert (others.may_serve("edge"), others.may_serve("depth")) == (True, False)
    assert (others.may_serve("edge", "here"), others.may_serve("edge", "there")) == (True, False)


def test_a_worker_with_a_job_serves_nobody_until_it_is_free(registry: Redis) -> None:
    registration = register(registry, "edge")
    registration.remove("unet2@test")
    others = knows(registry)
    assert not others.may_serve("edge")
    registration.renew("unet2@test")
    others.read()
    assert others.may_serve("edge")


def test_a_worker_that_becomes_free_is_noticed_by_those_that_ask(registry: Redis) -> None:
    now = [0.0]
    others = knows(registry, now=lambda: now[0])
    assert not others.may_serve("edge")
    # When one becomes free, what was read is believed for a second
    register(registry, "edge")
    now[0] += READ_EVERY_S / 2
    assert not others.may_serve("edge")
    # Then the next question has the registry read again, and does not wait for that
    now[0] += READ_EVERY_S / 2
    assert eventually(lambda: others.may_serve("edge"))


def test_what_a_job_will_ask_is_known_without_a_question(registry: Redis) -> None:
    others = knows(registry, [EDGE])
    # Given a ControlNet that nobody has asked for: until the registry was read, anybody may serve it
    others.expect([DEPTH])
    assert eventually(lambda: not others.may_serve("depth"))
    assert not others.may_serve("edge")


def test_what_was_read_long_ago_says_nothing(registry: Redis) -> None:
    now = [0.0]
    others = knows(registry, now=lambda: now[0])
    assert not others.may_serve("edge")
    now[0] += KNOWN_S + 0.1
    assert others.may_serve("edge")


def test_without_the_registry_anybody_may_serve() -> None:
    [port] = free_ports(1)
    others = OtherWorkers(without_retries(Redis(port=port, decode_responses=True)))
    assert all(others.may_serve("edge") for _ in range(3))
    with pytest.raises(RedisError):
        others.read()
    assert others.may_serve("edge")


def test_a_reading_is_one_call_however_many_workers_there_are(registry: Redis) -> None:
    now = [0.0]
    counting = CountingRedis(registry)
    others = knows(counting, [EDGE], now=lambda: now[0])
    # Given many workers, and a ControlNet that no job has asked for lately
    for i in range(50):
        register(registry, "edge", "depth", worker=f"unet{i}@test")
    counting.calls.clear()
    others.read()
    [(command, _, key_count, *rest)] = counting.calls
    assert (command, int(key_count), len(rest)) == ("EVALSHA", 1, 2)
    assert others.may_serve("edge")
    # Then what nobody asks is not read for ever
    now[0] += ASKED_S
    counting.calls.clear()
    others.read()
    assert counting.calls == []
