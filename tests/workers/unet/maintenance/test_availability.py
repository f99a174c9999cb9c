from collections.abc import Callable

import pytest
from redis import Redis

from shared import keys
from shared.jobs.spec import LoraRef
from shared.messaging.celery_app import unet_queue, worker_queue
from shared.registry.availability import Availability
from shared.registry.lora_inventory import read_disk_caches, read_inventories
from shared.storage.loras import version_of
from shared.storage.object_store import Bucket
from tests.tiny_models import EMOJI
from tests.workers.unet.specs import spec
from workers.unet.job import execute_job
from workers.unet.maintenance.availability import AvailabilityReporter
from workers.unet.worker import UNetWorker

NAME, MODEL = "unet1@test", "emoji-sd"


@pytest.fixture
def worker(make_worker: Callable[..., UNetWorker], control: Redis) -> UNetWorker:
    control.flushall()
    return make_worker(serve_controlnets=False)


@pytest.fixture
def seat(worker: UNetWorker, control: Redis) -> AvailabilityReporter:
    seat = AvailabilityReporter(
        control,
        serves=[MODEL],
        ttl_s=60,
        models=worker.models,
        cache=worker.loras,
        memory=worker.lora_memory,
    )
    seat.sit(NAME)
    seat.refresh()
    return seat


def test_a_worker_is_free_but_for_its_jobs(seat: AvailabilityReporter, control: Redis) -> None:
    availability = Availability(control)
    assert availability.free_workers() == [NAME]
    with seat.taken():
        seat.refresh()
        assert availability.free_workers() == []
    assert availability.free_workers() == [NAME]


def test_a_job_that_fails_frees_its_worker_too(seat: AvailabilityReporter, control: Redis) -> None:
    with pytest.raises(RuntimeError), seat.taken():
        raise RuntimeError
    assert Availability(control).free_workers() == [NAME]


def test_a_worker_that_stops_gives_back_what_it_was_promised(
    seat: AvailabilityReporter, control: Redis
) -> None:
    assert Availability(control).reserve(MODEL, [NAME]) == NAME
    control.lpush(worker_queue(MODEL, NAME), "message")
    seat.leave()
    assert control.lrange(unet_queue(MODEL), 0, -1) == ["message"]
    assert (Availability(control).free_workers(), read_inventories(control, [NAME])) == ([], [])
    seat.refresh()  # a heartbeat that comes too late
    assert Availability(control).free_workers() == []


def test_a_worker_tells_which_loras_a_job_has_left_with_it(
    seat: AvailabilityReporter, worker: UNetWorker, control: Redis
) -> None:
    data = (EMOJI / "loras" / "twemoji.safetensors").read_bytes()
    bucket = Bucket(worker.settings, worker.settings.lora_bucket)
    etag = bucket.put("twemoji.safetensors", data, content_type="application/octet-stream")
    ref = LoraRef(name="twemoji", etag=etag, size_bytes=len(data), scale=1.0)
    job_id, _ = worker.jobs.create(spec(loras=[ref], num_inference_steps=2))
    with seat.taken():
        assert execute_job(worker, job_id, NAME) == "succeeded"
    version = version_of(bucket.name, "twemoji", etag)
    [told] = read_inventories(control, [NAME])
    assert told.memory == [f"{MODEL}@{version}"]
    assert told.patched == [f"{MODEL}@{version}"]  # until a job wants another
    assert MODEL in told.loaded
    assert read_disk_caches(control, [told.host], [version, "other"]) == {told.host: {version}}
    assert 0 < control.pttl(keys.lora_disk_cache(told.host)) <= 60_000
    # When Redis forgets, then it is told again
    control.delete(keys.lora_disk_cache(told.host))
    seat.refresh()
    assert control.smembers(keys.lora_disk_cache(told.host)) == {version}
