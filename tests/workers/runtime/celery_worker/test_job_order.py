"""Which job a worker takes next: the rule, and a real Celery worker that follows it."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import ConnectionError as RedisConnectionError
from redis import Redis

from shared import keys
from shared.messaging.celery_app import (
    GENERATE,
    follow_queue,
    make_celery,
    unet_queue,
    worker_queue,
)
from shared.redis_clients import control_redis, without_retries
from shared.registry.loaded_models import LoadedModels
from shared.settings import Settings
from tests.counting_redis import CountingRedis
from tests.infra.local.waiting import eventually
from tests.job_messages import send_job
from workers.runtime.celery_worker.job_order import LOADS, TIMES, JobOrder, counted_wait_s

DONE, GATE, LOADED, LOAD_S = "test:done", "test:gate", "test:loaded", "test:load_s"
NAME, OTHER, SOON = "two@test", "unet2@test", 600.0
#: In which a Celery worker starts and takes a job, on a machine that runs other tests meanwhile.
START_S = 150
WARM, COLD = unet_queue("warm"), unet_queue("cold")
QUEUES = [unet_queue("cold"), follow_queue("warm"), worker_queue("warm", NAME), unet_queue("warm")]

whole = st.integers(0, 100_000).map(float)


@given(whole, whole, whole)
def test_a_job_waits_twice_as_long_as_those_of_loaded_models_and_for_three_loads_at_most(
    cold_s: float, warm_s: float, load_s: float
) -> None:
    assert (counted_wait_s(cold_s, load_s) > warm_s) == (cold_s > TIMES * warm_s + LOADS * load_s)


class Fleet:
    """Queues of two models, of which one is loaded, on real Redis."""

    def __init__(self, control: Redis, settings: Settings) -> None:
        self.redis, self.app = control, make_celery(settings)
        self._models, self._count = LoadedModels(control), 0
        control.sadd(LOADED, "warm")
        control.set(LOAD_S, 10)

    def submit(self, model: str, age_s: float) -> str:
        """Queue a job that has waited for so long."""
        self._count += 1
        job_id = f"{self._count:016x}"
        self.redis.hset(keys.job(job_id), "created_at", float(self.redis.time()[0]) - age_s)  # type: ignore[index]
        send_job(self.app, job_id, model)
        return job_id

    def load_elsewhere(self, *models: str) -> None:
        """Another worker has loaded these models."""
        self._models.register(OTHER, ["warm", "cold"], models, SOON)

    def order(self, loaded: Sequence[str] = ("warm",), client: Redis | None = None) -> JobOrder:
        """The order of a worker in this process."""
        order = JobOrder(
            client or without_retries(self.redis),
            ["cold", "warm"],
            loaded=lambda: loaded,
            expected_load_s=lambda model: 10,
        )
        order.on_start(sender=type("Worker", (), {"hostname": NAME}))
        return order


@pytest.fixture
def fleet(control: Redis, servers: Settings) -> Fleet:
    control.flushall()
    return Fleet(control, servers)


def consume(order: JobOrder) -> list[str]:
    turns = order()
    turns.update(QUEUES)
    return turns.consume(len(QUEUES))


@pytest.mark.parametrize(("cold_s", "first"), [(30, WARM), (300, COLD)])
def test_the_loaded_model_comes_first_until_the_other_has_waited_for_longer_than_the_bound(
    cold_s: float, first: str, fleet: Fleet
) -> None:
    fleet.submit("cold", cold_s)
    fleet.submit("warm", 20)
    queues = consume(fleet.order())
    assert [queue for queue in queues if queue in (WARM, COLD)] == [first, *({WARM, COLD} - {first})]
    assert [queue for queue in queues if queue not in (WARM, COLD)] == QUEUES[1:3]  # these keep their turns


@pytest.mark.parametrize(("cold_s", "is_taken"), [(None, False), (5, False), (35, True)])
def test_a_model_that_another_worker_has_loaded_is_left_to_it_for_three_loads(
    cold_s: float | None, is_taken: bool, fleet: Fleet
) -> None:
    fleet.load_elsewhere("cold")
    if cold_s is not None:
        fleet.submit("cold", cold_s)
    assert (COLD in consume(fleet.order())) == is_taken
    fleet.load_elsewhere()  # it has evicted it
    assert COLD in consume(fleet.order())


def test_of_two_loaded_models_the_one_whose_job_has_waited_for_longest_comes_first(fleet: Fleet) -> None:
    fleet.submit("cold", 5)
    fleet.submit("warm", 60)
    assert consume(fleet.order(["warm", "cold"]))[0] == WARM


@pytest.mark.parametrize(("loaded", "calls_while_idle"), [(("warm", "cold"), 0), (("warm",), 3)])
def test_redis_is_asked_once_a_job_and_while_idle_only_for_models_that_are_not_loaded(
    loaded: tuple[str, ...], calls_while_idle: int, fleet: Fleet
) -> None:
    client = CountingRedis(fleet.redis)
    turns = fleet.order(loaded, client)()
    turns.update(QUEUES)
    turns.consume(len(QUEUES))  # the server knows the script now
    client.calls.clear()
    turns.rotate(WARM)
    turns.consume(len(QUEUES))
    assert len(client.calls) == 1
    for _ in range(3):  # nothing came
        turns.consume(len(QUEUES))
    assert len(client.calls) == 1 + calls_while_idle
    turns.rotate(WARM)
    turns.consume(len(QUEUES))
    assert len(client.calls) == 2 + calls_while_idle


def test_a_worker_of_one_model_asks_nothing(fleet: Fleet) -> None:
    client = CountingRedis(fleet.redis)
    turns = fleet.order(client=client)()
    turns.update([WARM, follow_queue("warm")])
    client.calls.clear()
    assert turns.consume(2) == [WARM, follow_queue("warm")]
    assert not client.calls


def test_without_an_answer_queues_are_read_in_turn(servers: Settings) -> None:
    nowhere = servers.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    order = JobOrder(
        without_retries(control_redis(nowhere)),
        ["cold", "warm"],
        loaded=list,
        expected_load_s=lambda model: 1,
    )
    assert consume(order) == QUEUES


@pytest.fixture
def worker(fleet: Fleet, servers: Settings, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real Celery worker that has loaded one of two models."""
    environment = {**os.environ, "SWIFT_REDIS_URL": servers.redis_url}
    app = "tests.workers.runtime.celery_worker.two_models_worker"
    options = ["worker", "-n", NAME, "--pool=threads", "--without-gossip", "--without-mingle"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", app, *options], env=environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        fleet.redis.rpush(GATE, *range(9))
        process.terminate()
        process.wait(timeout=60)


def done(fleet: Fleet) -> list[str]:
    return fleet.redis.lrange(DONE, 0, -1)  # type: ignore[return-value]


def test_a_worker_takes_jobs_of_its_loaded_model_first_and_none_waits_for_ever(
    fleet: Fleet, worker: subprocess.Popen[bytes]
) -> None:
    # Given a worker with a job, while others wait: a young and an old one of the model that is not loaded
    running = fleet.submit("warm", 0)
    eventually(lambda: done(fleet) == [running], START_S)
    old, young = fleet.submit("cold", 500), fleet.submit("cold", 30)
    warm = [fleet.submit("warm", 25 - i) for i in range(3)]
    # When it takes one after the other, then the old one comes first, the young one after those of its model
    fleet.redis.rpush(GATE, *range(5))
    eventually(lambda: len(done(fleet)) == 6, START_S)
    assert done(fleet) == [running, old, *warm, young]


def test_an_idle_worker_leaves_a_job_to_one_with_its_model_but_not_for_ever(
    fleet: Fleet, worker: subprocess.Popen[bytes]
) -> None:
    fleet.load_elsewhere("cold")
    first = fleet.submit("warm", 0)
    eventually(lambda: done(fleet) == [first], START_S)
    fleet.redis.rpush(GATE, 1)
    # Given an idle worker and a job that another one may take soon, then younger ones of its own come first
    held = fleet.submit("cold", 0)
    fleet.redis.rpush(GATE, 1)
    second = fleet.submit("warm", 0)
    eventually(lambda: done(fleet) == [first, second], START_S)
    assert fleet.redis.llen(COLD) == 1
    # When it has waited for three loads, then this worker takes it
    fleet.redis.set(LOAD_S, 0.5)
    fleet.redis.rpush(GATE, 1)
    eventually(lambda: done(fleet) == [first, second, held], START_S)


def test_a_job_is_taken_at_once_when_the_worker_that_had_loaded_its_model_is_gone(
    fleet: Fleet, worker: subprocess.Popen[bytes]
) -> None:
    fleet.load_elsewhere("cold")
    first = fleet.submit("warm", 0)
    eventually(lambda: done(fleet) == [first], START_S)
    held = fleet.submit("cold", 0)
    fleet.load_elsewhere()
    fleet.redis.rpush(GATE, 1)
    eventually(lambda: done(fleet) == [first, held], START_S)


def test_flower_can_ask_for_the_configuration_and_the_statistics_of_a_worker(
    fleet: Fleet, worker: subprocess.Popen[bytes]
) -> None:
    running = fleet.submit("warm", 0)
    eventually(lambda: done(fleet) == [running], START_S)
    inspect = fleet.app.control.inspect(timeout=30, limit=1)
    assert _ask(inspect.conf)["worker_concurrency"] == 1
    assert _ask(inspect.stats)["total"] == {GENERATE: 1}


def _ask(question: Callable[[], Any]) -> dict[str, Any]:
    """What the worker says; asked again if the connection broke, as Flower does."""
    for _ in range(3):
        with contextlib.suppress(RedisConnectionError):
            return question()[NAME]
    return question()[NAME]
