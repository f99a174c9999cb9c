"""What a worker with a job knows of those that could serve its ControlNets."""

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from infra.bench.harness.ports import free_ports
from shared.registry.availability import Availability
from shared.registry.workers import Heartbeat, publish_heartbeat
from tests.infra.local.waiting import eventually
from workers.unet.controlnet.claims.other_workers import (
    KNOWN_S,
    READ_ALL_EVERY_S,
    READ_EVERY_S,
    OtherWorkers,
)


@pytest.fixture
def registry(control: Redis) -> Iterator[Redis]:
    control.flushall()
    yield control
    control.flushall()


def beat(redis: Redis, name: str, **changes: Any) -> None:
    values: dict[str, Any] = {
        "name": name, "kind": "unet", "host": "here", "pid": 1, "device": "cpu", "serves": ["model"],
        "loaded": [], "served_controlnets": ["edge", "depth"], "loaded_controlnets": ["edge"], "jobs": [],
        "utilization": 0.0, "started_at": 0.0, "version": "0",
    }  # fmt: skip
    publish_heartbeat(redis, Heartbeat.model_validate(values | changes), 60)


def test_before_the_registry_was_read_anybody_may_serve(registry: Redis) -> None:
    assert OtherWorkers(registry).may_serve("edge")


def test_a_free_unet_worker_may_serve_what_it_has_loaded(registry: Redis) -> None:
    beat(registry, "unet2@test")
    Availability(registry).register_free("unet2@test", ["model"], 60)
    others = OtherWorkers(registry)
    others.read()
    assert (others.may_serve("edge"), others.may_serve("depth")) == (True, False)


def test_a_unet_worker_with_a_job_serves_nobody_until_it_is_free(registry: Redis) -> None:
    beat(registry, "unet2@test")
    others = OtherWorkers(registry)
    Availability(registry).register_busy("unet2@test", ["model"], 60)
    for _ in range(2):  # the second time its heartbeat is not read
        others.read()
        assert not others.may_serve("edge")
    Availability(registry).register_free("unet2@test", ["model"], 60)
    others.read()
    assert others.may_serve("edge")


def test_a_controlnet_worker_serves_also_what_it_has_not_loaded_but_not_what_it_cannot(
    registry: Redis,
) -> None:
    errors = {"depth": "no such file"}
    beat(registry, "c1@test", kind="controlnet", serves=["edge", "depth"], controlnets=[], load_errors=errors)
    others = OtherWorkers(registry)
    for _ in range(2):
        others.read()
        assert (others.may_serve("edge"), others.may_serve("depth")) == (True, False)


def test_a_controlnet_worker_is_found_whose_name_was_that_of_a_unet_worker(registry: Redis) -> None:
    now = [0.0]
    others = OtherWorkers(registry, now=lambda: now[0])
    beat(registry, "worker1@test")
    others.read()
    beat(registry, "worker1@test", kind="controlnet", serves=["edge"])
    now[0] += READ_ALL_EVERY_S
    others.read()
    assert others.may_serve("edge")
    # And from now on it is found in each reading
    now[0] += READ_EVERY_S
    others.read()
    assert others.may_serve("edge")


def test_a_worker_that_becomes_free_is_noticed_by_those_that_ask(registry: Redis) -> None:
    now = [0.0]
    others = OtherWorkers(registry, now=lambda: now[0])
    others.read()
    assert not others.may_serve("edge")
    # When one becomes free, what was read is believed for a second
    beat(registry, "unet2@test")
    Availability(registry).register_free("unet2@test", ["model"], 60)
    now[0] += READ_EVERY_S / 2
    assert not others.may_serve("edge")
    # Then the next question has the registry read again, and does not wait for that
    now[0] += READ_EVERY_S / 2
    assert eventually(lambda: others.may_serve("edge"))


def test_what_was_read_long_ago_says_nothing(registry: Redis) -> None:
    now = [0.0]
    others = OtherWorkers(registry, now=lambda: now[0])
    others.read()
    assert not others.may_serve("edge")
    now[0] += KNOWN_S + 0.1
    assert others.may_serve("edge")


def test_without_the_registry_anybody_may_serve() -> None:
    [port] = free_ports(1)
    others = OtherWorkers(Redis(port=port, decode_responses=True))
    assert all(others.may_serve("edge") for _ in range(3))
    with pytest.raises(RedisError):
        others.read()
    assert others.may_serve("edge")
