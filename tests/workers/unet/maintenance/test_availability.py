import json
from collections.abc import Callable, Sequence

import pytest
from redis import Redis

from shared import keys
from shared.jobs.spec import LoraRef
from shared.keys import LOCAL
from shared.messaging.celery_app import unet_queue, worker_queue
from shared.registry.availability import Availability
from shared.registry.controlnet_servers import ControlNetServers, Served, ServerRegistration
from shared.registry.loaded_models import LoadedModels
from shared.registry.lora_inventory import read_disk_caches, read_inventories
from shared.scheduling.fair_queue import FairQueue
from shared.storage.loras import version_of
from shared.storage.object_store import Bucket
from tests.shared.scheduling.held_jobs import HeldJobs
from tests.tiny_models import EMOJI
from tests.workers.unet.specs import spec
from workers.unet.job import execute_job
from workers.unet.maintenance.availability import MAX_LOADED_TTL_S, AvailabilityReporter
from workers.unet.worker import UNetWorker

NAME, MODEL = "unet1@test", "emoji-sd"


@pytest.fixture
def worker(make_worker: Callable[..., UNetWorker], control: Redis) -> UNetWorker:
    control.flushall()
    return make_worker(serve_controlnets=False)


@pytest.fixture
def make_reporter(worker: UNetWorker, control: Redis) -> Callable[..., AvailabilityReporter]:
    def make(serves: Sequence[str]) -> AvailabilityReporter:
        reporter = AvailabilityReporter(
            control,
            serves=serves,
            ttl_s=60,
            models=worker.models,
            cache=worker.loras,
            memory=worker.lora_memory,
            serving=ServerRegistration(control, lambda: ["edge"], lambda: "here", 60),
        )
        reporter.start(NAME)
        reporter.report()
        return reporter

    return make


@pytest.fixture
def reporter(make_reporter: Callable[..., AvailabilityReporter]) -> AvailabilityReporter:
    return make_reporter([MODEL])


def test_a_worker_is_free_while_it_runs_no_job(reporter: AvailabilityReporter, control: Redis) -> None:
    availability = Availability(control)
    assert availability.free_workers() == [NAME]
    with reporter.busy_with("0123"):
        reporter.report()
        assert (availability.free_workers(), reporter.jobs()) == ([], ["0123"])
    assert availability.free_workers() == [NAME]


def test_a_worker_serves_controlnets_while_it_is_free(reporter: AvailabilityReporter, control: Redis) -> None:
    servers, wanted = ControlNetServers(control), [Served("edge"), Served("edge", "here")]
    assert servers.are_served(wanted) == [True, True]
    with reporter.busy_with("0123"):
        assert servers.are_served(wanted) == [False, False]
    assert servers.are_served(wanted) == [True, True]
    # Not while a job waits that it takes next, nor once it stops
    control.lpush(unet_queue(MODEL), "job")
    reporter.report()
    assert servers.are_served(wanted) == [False, False]
    control.delete(unet_queue(MODEL))
    reporter.report()
    assert servers.are_served(wanted) == [True, True]
    reporter.stop()
    assert servers.are_served(wanted) == [False, False]


def test_a_worker_is_free_again_after_a_failed_job(reporter: AvailabilityReporter, control: Redis) -> None:
    with pytest.raises(RuntimeError), reporter.busy_with("0123"):
        raise RuntimeError
    assert Availability(control).free_workers() == [NAME]


def test_a_worker_is_free_while_only_jobs_wait_that_it_leaves_to_others(
    make_reporter: Callable[..., AvailabilityReporter], worker: UNetWorker, control: Redis
) -> None:
    reporter, availability = make_reporter([MODEL, "other"]), Availability(control)
    control.lpush(unet_queue("other"), "job")
    with worker.models.use(MODEL):  # from now on it is loaded
        reporter.report()
    assert (availability.free_workers(), reporter.jobs_wait) == ([NAME], False)
    # When a job of the loaded model waits, too, then it takes that one next
    control.lpush(unet_queue(MODEL), "job")
    reporter.report()
    assert (availability.free_workers(), reporter.jobs_wait) == ([], True)


def test_a_worker_that_has_loaded_nothing_takes_any_job_that_waits(
    make_reporter: Callable[..., AvailabilityReporter], worker: UNetWorker, control: Redis
) -> None:
    worker.models.discard(MODEL)
    control.lpush(unet_queue("other"), "job")
    assert make_reporter([MODEL, "other"]).jobs_wait
    assert Availability(control).free_workers() == []


def test_only_a_worker_that_takes_jobs_registers_what_it_has_loaded(
    reporter: AvailabilityReporter, worker: UNetWorker, control: Redis
) -> None:
    models = LoadedModels(control)
    with worker.models.use(MODEL), reporter.busy_with("0123"):
        reporter.report()
        assert models.is_loaded(MODEL)
    reporter.stop()
    reporter.report()  # a late heartbeat
    assert not models.is_loaded(MODEL)


def test_what_is_loaded_is_registered_when_a_job_begins_and_when_it_ends(
    reporter: AvailabilityReporter, worker: UNetWorker, control: Redis
) -> None:
    models = LoadedModels(control)
    with worker.models.use(MODEL):
        pass
    with reporter.busy_with("0123"):
        assert models.is_loaded(MODEL)
        worker.models.discard(MODEL)  # another model takes its place
    assert not models.is_loaded(MODEL)


def test_what_is_loaded_is_believed_for_seconds_however_rare_heartbeats_are(
    reporter: AvailabilityReporter, worker: UNetWorker, control: Redis
) -> None:
    with worker.models.use(MODEL):
        reporter.report()  # for 60 s
    assert 0 < control.pttl(keys.model_holders(MODEL)) <= MAX_LOADED_TTL_S * 1000


def test_a_worker_that_stops_releases_its_reserved_jobs(
    reporter: AvailabilityReporter, worker: UNetWorker, control: Redis
) -> None:
    jobs = HeldJobs(control, FairQueue(control, worker.settings))
    job_id = jobs.accept(model=MODEL)
    assert jobs.queue.place(job_id, MODEL, [NAME]) == NAME
    assert jobs.waiting(worker_queue(MODEL, NAME)) == [job_id]
    reporter.stop()
    assert jobs.waiting(unet_queue(MODEL)) == [job_id]
    assert (Availability(control).free_workers(), read_inventories(control, [NAME])) == ([], [])
    reporter.report()  # a late heartbeat
    assert Availability(control).free_workers() == []


def test_a_worker_reports_the_loras_that_a_job_left_with_it(
    reporter: AvailabilityReporter, worker: UNetWorker, control: Redis
) -> None:
    data = (EMOJI / "loras" / "twemoji.safetensors").read_bytes()
    bucket = Bucket(worker.settings, worker.settings.lora_bucket)
    etag = bucket.put("twemoji.safetensors", data, content_type="application/octet-stream")
    ref = LoraRef(name="twemoji", etag=etag, size_bytes=len(data), scale=1.0)
    job_id, _ = worker.jobs.create(spec(loras=[ref], num_inference_steps=2), tenant=LOCAL)
    with reporter.busy_with("0123"):
        assert execute_job(worker, job_id, NAME) == "succeeded"
    version = version_of(bucket.name, "twemoji", etag)
    assert json.loads(control.hget(keys.job(job_id), "lora_versions") or "") == [version]
    [inventory] = read_inventories(control, [NAME])
    assert inventory.memory == [f"{MODEL}@{version}"]
    assert inventory.patched == [f"{MODEL}@{version}"]  # until a job wants another
    assert MODEL in inventory.loaded
    assert read_disk_caches(control, [inventory.host], [version, "other"]) == {inventory.host: {version}}
    assert 0 < control.pttl(keys.lora_disk_cache(inventory.host)) <= 60_000
    # And the next job is one with this LoRA
    jobs = HeldJobs(control, FairQueue(control, worker.settings))
    first, other, same = (jobs.submit(model=MODEL, loras=[name]) for name in ("a", "b", version))
    reporter.prefer_patched_loras()
    assert jobs.take_all(model=MODEL) == [same, first, other]
    # When Redis loses the list, then it is published again
    control.delete(keys.lora_disk_cache(inventory.host))
    reporter.report()
    assert control.smembers(keys.lora_disk_cache(inventory.host)) == {version}
