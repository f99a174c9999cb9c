"""A key of the wrong type, of another client or an earlier version, stops no job of any tenant."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from shared import keys
from shared.jobs.record import JobScheduling
from shared.jobs.store import JobStore
from shared.lua_script import read_lua
from shared.messaging.celery_app import unet_queue
from shared.registry.availability import Availability
from shared.registry.loaded_models import LoadedModels
from shared.scheduling.fair_queue import FairQueue
from shared.settings import Settings
from shared.tenants.tenant import Priority
from tests.shared.jobs.records import spec
from tests.shared.scheduling.held_jobs import MODEL, SOON, set_share

WORKER = "unet1@a"
#: All keys but records that a release, or a change of a job, reads or writes.
KEYS = (
    *(keys.share("a"), keys.released("a"), keys.held(MODEL, "a"), keys.held_models("a")),
    *(keys.held_tenants(MODEL), keys.model_workers(MODEL), keys.model_holders(MODEL), unet_queue(MODEL)),
    *(keys.urgent_jobs(MODEL, "a"), keys.urgent_tenants(MODEL), keys.urgent_released(MODEL)),
    *(keys.SCHEDULING, keys.DELAYED, keys.UNCLAIMED, keys.UNSENT, keys.FREE_WORKERS, keys.RESERVED_QUEUES),
    *(keys.JOBS, keys.MODELS, keys.JOB_TENANTS, keys.UNRUNNABLE, keys.DEADLINES, keys.IMAGES),
    *(keys.jobs_of("a"), keys.SERVER, keys.LEAVING),
    *(f"{begin}:{status}" for begin in (keys.JOBS, keys.jobs_of("a")) for status in ("queued", "running")),
    *(keys.by_model(status, MODEL) for status in ("queued", "running")),
)


class Service:
    """The web and one worker, with two tenants, of which one has a cap."""

    def __init__(self, control: Redis, servers: Settings) -> None:
        control.flushall()
        self.redis = control
        self.jobs, self.queue = JobStore(control, servers), FairQueue(control, servers)
        self.availability, self.loaded = Availability(control), LoadedModels(control)
        set_share(control, self.queue, "a", max_running_jobs=1)
        self.ids: list[str] = []

    def submit(self, tenant: str, priorities: Iterable[Priority] = ("normal",)) -> None:
        for priority in priorities:
            job_id, _ = self.jobs.create(
                spec(model=MODEL), tenant=tenant, scheduling=JobScheduling(priority, 1.0)
            )
            self.queue.place(job_id, MODEL, self.availability.free_workers())
            self.ids.append(job_id)

    def beat(self) -> None:
        """As a worker that has no job."""
        self.queue.serve(WORKER, [MODEL], SOON)
        self.loaded.register(WORKER, [MODEL], [MODEL], SOON)
        self.availability.register_free(WORKER, [MODEL], SOON)
        self.availability.release_expired(0)

    def run_next(self) -> None:
        """As a worker that takes a job, generates its image and is idle again."""
        self.beat()
        self.availability.register_busy(WORKER, [MODEL], SOON)
        self.queue.prefer(MODEL, ["x"])
        text = self.redis.rpop(unet_queue(MODEL))
        self.queue.release([MODEL])
        attempt = self.jobs.claim(json.loads(str(text))["headers"]["id"], WORKER) if text else None
        if attempt is not None:
            attempt.advance(1, 2)
            self.jobs.script("finish", attempt.job.id, attempt.token, "succeeded")
            self.queue.release([MODEL])

    def recover(self) -> None:
        """As sweep and recovery do, if they look at all jobs at once."""
        self.jobs.note_stopping("unet2@a")
        self.jobs.orphans()
        self.jobs.heal(self.ids)
        self.queue.forget_ended("a")
        texts: Any = self.redis.lrange(unet_queue(MODEL), 0, -1)
        waiting = {json.loads(text)["headers"]["id"] for text in texts}
        lost = self.queue.unclaimed(-1, 100) | self.queue.heal_held(self.queued()) - waiting
        for job_id in sorted(lost - waiting):
            self.queue.send(job_id, MODEL, "last")

    def queued(self) -> list[str]:
        return [job_id for job_id in self.ids if self.redis.hget(keys.job(job_id), "status") == "queued"]


@pytest.fixture
def service(control: Redis, servers: Settings) -> Service:
    service = Service(control, servers)
    service.beat()
    service.submit("a", ("interactive", "normal", "interactive", "batch"))
    service.submit("b", ("normal", "interactive"))
    return service


@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_the_wrong_type_is_dropped_and_every_job_is_done(key: str, service: Service) -> None:
    service.run_next()
    service.redis.delete(key)
    service.redis.set(key, "somebody else's")
    service.run_next()
    # When jobs come after that, then they are done as ever
    service.submit("b", ("normal",))
    service.submit("a")
    service.queue.compete("a")
    service.recover()
    assert service.redis.type(key) != "string"
    for _ in range(2 * len(service.ids)):
        service.run_next()
    assert service.queued() == []


def test_a_tenants_record_of_the_wrong_type_has_no_limits_and_stays(service: Service) -> None:
    service.redis.delete(keys.tenant("a"))
    service.redis.set(keys.tenant("a"), "somebody else's")
    service.queue.compete("a")
    service.submit("a")
    service.queue.read_state(MODEL, "a")
    for _ in range(2 * len(service.ids)):
        service.run_next()
    assert service.queued() == []
    assert service.redis.get(keys.tenant("a")) == "somebody else's"


def test_what_stands_in_place_of_a_number_is_counted_from_none(service: Service) -> None:
    service.redis.hset(keys.SCHEDULING, keys.held_count(MODEL), "many")
    for job_id in service.ids:
        service.redis.hset(keys.job(job_id), mapping={"releases": "x", "pauses": "x", "preemptions": "x"})
    service.submit("b")
    for _ in range(2 * len(service.ids)):
        service.run_next()
    assert service.queued() == []


def test_other_errors_of_the_server_are_raised_and_drop_nothing(control: Redis) -> None:
    control.flushall()
    control.hset("key", "field", "no number")
    script = read_lua("shared", "call") + "return call('HINCRBY', KEYS[1], 'field', 1)"
    with pytest.raises(ResponseError, match="not an integer"):
        control.eval(script, 1, "key")
    assert control.hget("key", "field") == "no number"
    assert control.eval(script, 1, "other") == 1
