import time
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from infra.bench.harness.ports import free_ports
from shared import keys
from shared.registry.controlnet_servers import ControlNetServers, Served, ServerRegistration

SOON = 60.0
EDGE, DEPTH = Served("edge"), Served("depth")


def port_of(redis: Redis) -> int:
    port: int = redis.connection_pool.connection_kwargs["port"]
    return port


@pytest.fixture
def registry(control: Redis) -> Redis:
    control.flushall()
    return control


class Worker:
    """One that serves what ``controlnets`` says."""

    def __init__(
        self, redis: Redis, name: str, *controlnets: str, platform: str = "", ttl_s: float = SOON
    ) -> None:
        self.controlnets, self._name = list(controlnets), name
        self._registration = ServerRegistration(redis, lambda: self.controlnets, lambda: platform, ttl_s)
        self.renew()

    def renew(self) -> None:
        self._registration.renew(self._name)

    def remove(self) -> None:
        self._registration.remove(self._name)


def test_what_a_worker_registers_is_served_until_it_takes_that_back(registry: Redis) -> None:
    servers = ControlNetServers(registry)
    one, other = Worker(registry, "unet1@a", "edge"), Worker(registry, "unet2@a", "edge", "depth")
    assert servers.are_served([EDGE, DEPTH]) == [True, True]
    other.remove()
    assert servers.are_served([EDGE, DEPTH]) == [True, False]
    one.controlnets = ["depth"]  # it has evicted one, and loaded another
    one.renew()
    assert servers.are_served([EDGE, DEPTH]) == [False, True]
    one.remove()
    assert servers.are_served([EDGE, DEPTH]) == [False, False]
    assert not list(registry.scan_iter(keys.controlnet_servers("*", "*")))


def test_a_controlnet_is_served_on_the_platforms_of_its_workers_and_on_any(registry: Redis) -> None:
    servers = ControlNetServers(registry)
    Worker(registry, "unet1@a", "edge", platform="one")
    wanted = [EDGE, Served("edge", "one"), Served("edge", "two"), Served("depth", "one")]
    assert servers.are_served(wanted) == [True, True, False, False]


def test_the_registration_of_a_dead_worker_expires(registry: Redis) -> None:
    servers = ControlNetServers(registry)
    Worker(registry, "unet1@a", "edge", "depth", ttl_s=0.05)
    Worker(registry, "unet2@a", "edge")
    deadline = time.monotonic() + SOON
    while servers.are_served([EDGE, DEPTH]) != [True, False]:
        assert time.monotonic() < deadline
    # And those that live take it out of their sets
    Worker(registry, "unet3@a", "edge")
    assert registry.zrange(keys.controlnet_servers("edge"), 0, -1) == ["unet2@a", "unet3@a"]


def test_a_worker_that_serves_nothing_asks_redis_for_nothing() -> None:
    [port] = free_ports(1)
    worker = Worker(Redis(port=port), "unet1@a")
    worker.remove()


class DeafRedis(Redis):
    """Calls reach the server; while it is deaf, their responses are lost."""

    is_deaf = False

    def execute_command(self, *args: Any, **options: Any) -> Any:
        response = super().execute_command(*args, **options)
        if self.is_deaf:
            raise RedisConnectionError
        return response


def test_a_registration_whose_response_was_lost_is_taken_back(registry: Redis) -> None:
    servers, deaf = ControlNetServers(registry), DeafRedis(port=port_of(registry))
    worker = Worker(deaf, "unet1@a")
    worker.controlnets, deaf.is_deaf = ["edge"], True
    with pytest.raises(RedisConnectionError):
        worker.renew()
    assert servers.are_served([EDGE]) == [True]
    deaf.is_deaf = False
    worker.remove()
    assert servers.are_served([EDGE]) == [False]
