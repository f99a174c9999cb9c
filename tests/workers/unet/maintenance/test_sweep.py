"""What dead workers, deleted jobs and expired records leave behind, over real Redis and real S3."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from shared import keys
from shared.errors import AttemptLost, Unavailable
from shared.jobs.attempt import Attempt
from shared.jobs.record import Failure, StoredImage
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.messaging.celery_app import attach_queue, make_celery, worker_queue
from shared.settings import Settings
from shared.storage.image_bucket import ImageBucket
from shared.storage.lora_names import STAGED
from shared.storage.object_store import Bucket, ObjectStat
from tests.api.services import receipt_of
from tests.infra.local.waiting import eventually
from tests.job_messages import send_job
from tests.shared.jobs.records import damage
from tests.workers.unet.specs import spec
from workers.transport.keys import checkpoint_key
from workers.unet.checkpoints.store import CheckpointStore
from workers.unet.maintenance.broker_cleanup import BINDING_S
from workers.unet.maintenance.image_cleanup import ImageCleanup
from workers.unet.maintenance.sweep import Sweeper
from workers.unet.maintenance.sweep_cursors import SweepCursors
from workers.unet.maintenance.tenant_cleanup import AT_ONCE
from workers.unet.maintenance.unacked import HELD_S, UNACKED, UNACKED_INDEX

WHY = Failure(code="x", detail="y")
#: Jobs whose images S3 is really asked for.
MANY = 5


@pytest.fixture
def settings(servers: Settings) -> Settings:
    return servers.model_copy(update={"image_bucket": "swept", "job_ttl_s": 3600, "image_ttl_s": 3600})


@pytest.fixture
def jobs(control: Redis, settings: Settings) -> JobStore:
    control.flushall()
    return JobStore(control, settings)


@pytest.fixture
def images(control: Redis, settings: Settings) -> ImageBucket:
    bucket = ImageBucket(settings, control)
    bucket.ready()
    for stat in list(bucket.list()):
        bucket.delete(stat.key)
    return bucket


@pytest.fixture
def loras(settings: Settings) -> Bucket:
    return Bucket(settings, settings.lora_bucket)


@pytest.fixture
def checkpoints(residual: Redis, settings: Settings) -> CheckpointStore:
    residual.flushall()
    return CheckpointStore(residual, settings)


@pytest.fixture
def sweeper(jobs: JobStore, images: ImageBucket, loras: Bucket, checkpoints: CheckpointStore) -> Sweeper:
    return Sweeper(jobs, images, loras, checkpoints)


def run(jobs: JobStore) -> Attempt:
    attempt = jobs.claim(jobs.create(spec(), tenant=LOCAL)[0], "w")
    assert attempt is not None
    return attempt


def store(images: ImageBucket, attempt: Attempt) -> str:
    key = keys.image_key(attempt.job.id, attempt.token, 0)
    images.put(key, b"png", content_type="image/png")
    return key


def succeed(attempt: Attempt, key: str) -> None:
    image = StoredImage(key=key, seed=7, width=64, height=64, sha256="ab")
    attempt.succeed([image], receipt_of(attempt.job.spec), [])


def stored(images: ImageBucket) -> set[str]:
    return {stat.key for stat in images.list()}


def pass_time(control: Redis, key: str, seconds: float) -> None:
    """As if everything in a sorted set of times had happened so long ago."""
    for member in control.zrange(key, 0, -1):
        control.zincrby(key, -seconds, str(member))


class CountingImages(ImageBucket):
    """Counts the listings of single jobs."""

    listings = 0

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectStat]:
        self.listings += prefix != keys.IMAGE_PREFIX
        return super().list(prefix, after=after) if self.listings <= MANY else iter(())


def test_images_of_many_jobs_are_deleted_in_parts_as_fast_as_jobs_of_tenants(
    jobs: JobStore, images: ImageBucket, settings: Settings, control: Redis
) -> None:
    # Given more jobs whose images are not kept than a sweep deletes, two of them with an image
    bucket = CountingImages(settings, control)
    ids = [f"{n:016x}" for n in range(2 * AT_ONCE + MANY)]
    control.zadd(keys.IMAGES, {job_id: n for n, job_id in enumerate(ids)})
    for job_id in (ids[0], ids[MANY - 1]):
        images.put(keys.image_key(job_id, "a", 0), b"png", content_type="image/png")
    cleanup = ImageCleanup(jobs, bucket, SweepCursors(control))
    left = []
    for _ in range(3):
        cleanup.delete_expired_images()
        left.append(control.zcard(keys.IMAGES))
    # Then each takes its part, asks S3 once for each job, and nothing is left after the last one
    assert left == [AT_ONCE + MANY, MANY, 0]
    assert bucket.listings == len(ids)
    assert stored(images) == set()


def test_images_of_lost_attempts_are_deleted_and_those_of_jobs_are_kept(
    jobs: JobStore, images: ImageBucket, sweeper: Sweeper, control: Redis
) -> None:
    # Given a job that a second worker ended, one that runs in its second attempt, and one that is whole
    kept, lost = set(), set()
    for ends in (True, False):
        old = run(jobs)
        lost.add(store(images, old))
        old.requeue(WHY)
        new = jobs.claim(old.job.id, "w2")
        assert new is not None
        kept.add(store(images, new))
        if ends:
            succeed(new, *kept)
    waiting = run(jobs)
    lost.add(store(images, waiting))
    waiting.requeue(WHY)
    unreadable = run(jobs)
    kept.add(store(images, unreadable))
    damage(control, unreadable.job.id, "status is paused")
    kept.add("pictures/of-somebody-else.png")
    images.put("pictures/of-somebody-else.png", b"", content_type="image/png")
    assert stored(images) == kept | lost
    sweeper.sweep()
    assert stored(images) == kept


@pytest.mark.parametrize("state", ["running", "succeeded"])
def test_images_of_a_deleted_job_are_deleted_even_if_written_later(
    state: str, jobs: JobStore, images: ImageBucket, sweeper: Sweeper
) -> None:
    attempt = run(jobs)
    key = store(images, attempt)
    if state == "succeeded":
        succeed(attempt, key)
    jobs.delete(attempt.job.id)
    sweeper.sweep()
    assert stored(images) == set()
    store(images, attempt)  # it does not know yet
    with pytest.raises(AttemptLost):
        succeed(attempt, key)
    sweeper.sweep()
    assert stored(images) == set()


def test_images_are_deleted_after_their_ttl_and_the_job_is_kept(
    jobs: JobStore, images: ImageBucket, sweeper: Sweeper, control: Redis
) -> None:
    attempt = run(jobs)
    key = store(images, attempt)
    succeed(attempt, key)
    sweeper.sweep()
    assert stored(images) == {key}
    pass_time(control, keys.IMAGES, 3600)
    sweeper.sweep()
    assert stored(images) == set()
    assert jobs.get(attempt.job.id).status == "succeeded"
    assert control.zcard(keys.IMAGES) == 0


@pytest.mark.parametrize("tenant", [keys.LOCAL, "acme"])
def test_a_control_image_is_kept_while_it_is_used(
    images: ImageBucket, sweeper: Sweeper, control: Redis, settings: Settings, tenant: str
) -> None:
    used, unused, unknown = (keys.control_key(digit * 64, tenant) for digit in "abc")
    for key in (used, unused):
        images.put(key, b"png", content_type="image/png")
    super(ImageBucket, images).put(unknown, b"png", content_type="image/png")  # by an older version
    sweeper.sweep()
    assert stored(images) == {used, unused, unknown}
    pass_time(control, keys.CONTROL_IMAGES, settings.control_image_ttl_s)
    images.get(used)
    sweeper.sweep()
    assert stored(images) == {used}


def test_a_control_image_that_is_being_deleted_is_not_given_to_a_new_job(
    control: Redis, settings: Settings
) -> None:
    refused: list[str] = []

    class UsedWhileDeleted(ImageBucket):
        """Tries to use each image while it is being deleted."""

        def delete(self, key: str) -> None:
            with pytest.raises(Unavailable) as error:
                self.exists(key)
            refused.append(str(error.value))

    images = UsedWhileDeleted(settings, control)
    control.delete(keys.CONTROL_IMAGES)
    key = keys.control_key("a" * 64, tenant=LOCAL)
    images.put(key, b"png", content_type="image/png")
    pass_time(control, keys.CONTROL_IMAGES, settings.control_image_ttl_s)
    assert images.delete_unused(10) == 1
    assert len(refused) == 1
    # And once it is gone, it may be stored again
    images.put(key, b"png", content_type="image/png")


def test_lists_of_jobs_and_their_records_agree_after_a_sweep(
    jobs: JobStore, sweeper: Sweeper, control: Redis
) -> None:
    # Given a job that no list knows, one on the wrong list, and three of which only traces are left
    unlisted, misplaced = jobs.create(spec(), tenant=LOCAL)[0], jobs.create(spec(), tenant=LOCAL)[0]
    control.delete(keys.JOBS, keys.by_status("queued"), keys.UNSENT)
    control.zadd(keys.by_status("running"), {misplaced: 1})
    vanished = [run(jobs).job.id for _ in range(3)]
    control.delete(*map(keys.job, vanished))
    control.zadd(keys.JOBS, {"no id": 1})
    sweeper.sweep()
    assert {job.id for job in jobs.page(status="queued")[0]} == {unlisted, misplaced}
    assert control.zcard(keys.JOBS) == 2
    assert control.zcard(keys.by_status("running")) == 0
    left = {str(key) for job_id in vanished for key in control.scan_iter(f"swift:job:{job_id}*")}
    assert left == set()


def unacked(control: Redis, tag: str, job_id: str, task: str = "unet.generate") -> None:
    message = {"headers": {"id": job_id, "task": task}, "body": ""}
    control.hset(UNACKED, tag, json.dumps([message, "exchange", "key"]))
    control.zadd(UNACKED_INDEX, {tag: 1})


def test_messages_of_dead_workers_are_deleted_once_their_job_has_ended(
    jobs: JobStore, sweeper: Sweeper, control: Redis
) -> None:
    ended, running = run(jobs), run(jobs)
    ended.end("failed", WHY, [])
    unacked(control, "ended", ended.job.id)
    unacked(control, "running", running.job.id)
    unacked(control, "gone", "0" * 16)
    unacked(control, "hint", "x", "controlnet.attach")
    control.hset(UNACKED, "garbage", "[" * 3000)
    sweeper.sweep()
    assert control.hlen(UNACKED) == 5  # they may be about to be acknowledged
    pass_time(control, keys.MESSAGES_SEEN, HELD_S + 1)
    sweeper.sweep()
    assert set(control.hkeys(UNACKED)) == {"running", "hint", "garbage"}
    pass_time(control, keys.MESSAGES_SEEN, 3600)
    sweeper.sweep()
    assert set(control.hkeys(UNACKED)) == {"running"}
    assert control.zrange(UNACKED_INDEX, 0, -1) == ["running"]


@pytest.fixture
def celery(settings: Settings) -> Celery:
    return make_celery(settings)


def bindings(control: Redis, exchange: str) -> set[str]:
    return set(map(str, control.smembers(f"_kombu.binding.{exchange}")))


def subscribers(control: Redis) -> set[str]:
    """Connections that receive what is published: the server is shared with other tests."""
    return {client["id"] for client in control.client_list(_type="pubsub")}


def test_bindings_of_dead_consumers_are_deleted_and_live_ones_still_receive(
    sweeper: Sweeper, celery: Celery, control: Redis
) -> None:
    # Given one that listens to events, and bindings of others that died
    received, others = list[str](), subscribers(control)
    with celery.connection() as connection:
        receiver = celery.events.Receiver(connection)

        def receive(event: dict[str, Any]) -> None:
            received.append(event["type"])
            receiver.should_stop = True

        receiver.handlers = {"*": receive}
        listener = threading.Thread(target=receiver.capture, kwargs={"wakeup": False}, daemon=True)
        listener.start()
        eventually(lambda: subscribers(control) - others)
        for exchange in ("celeryev", "celery.pidbox", "reply.celery.pidbox"):
            control.sadd(f"_kombu.binding.{exchange}", f"#\x06\x16\x06\x16{exchange}.dead")
        # When they have grown old
        sweeper.sweep()
        pass_time(control, keys.BINDINGS_SEEN, BINDING_S + 1)
        sweeper.sweep()
        # Then all are gone, and events arrive all the same
        for exchange in ("celeryev", "celery.pidbox", "reply.celery.pidbox"):
            assert bindings(control, exchange) == set()
        with celery.connection() as sends:
            celery.events.Dispatcher(sends).send("worker-heartbeat")
        listener.join(timeout=30)
    assert received == ["worker-heartbeat"]


def test_queues_of_dead_workers_are_deleted_and_those_of_live_ones_kept(
    sweeper: Sweeper, celery: Celery, control: Redis
) -> None:
    send_job(celery, "0" * 16, "m", "dead@test")
    send_job(celery, "1" * 16, "m", "reserved@test")
    control.zadd(keys.RESERVED_QUEUES, {worker_queue("m", "reserved@test"): 1})
    control.rpush(attach_queue("dead@test"), "an attachment")
    sweeper.sweep()
    assert list(control.scan_iter("unet.m@*")) == [worker_queue("m", "reserved@test")]
    assert not control.exists(attach_queue("dead@test"))


def test_leftovers_of_uploads_are_deleted_when_they_are_old(
    jobs: JobStore, images: ImageBucket, loras: Bucket, checkpoints: CheckpointStore, control: Redis
) -> None:
    young = Sweeper(jobs, images, loras, checkpoints)
    old = Sweeper(jobs, images, loras, checkpoints, leftover_age=timedelta(days=-1))

    def left() -> list[str]:
        uploads = loras.client.list_multipart_uploads(Bucket=loras.name, Prefix=STAGED).get("Uploads", [])
        return [stat.key for stat in loras.list(STAGED)] + [one["Key"] for one in uploads]

    loras.put(f"{STAGED}anime.safetensors/1", b"half a file", content_type="application/octet-stream")
    loras.put("swept.safetensors", b"a LoRA", content_type="application/octet-stream")
    loras.client.create_multipart_upload(Bucket=loras.name, Key=f"{STAGED}x")
    # Given that they are young, and then that a day has passed
    young.delete_upload_leftovers()
    assert len(left()) == 2
    old.delete_upload_leftovers()  # not again within the hour
    assert len(left()) == 2
    control.delete(keys.UPLOADS_SWEPT)
    old.delete_upload_leftovers()
    assert left() == []
    assert loras.exists("swept.safetensors")
    loras.delete("swept.safetensors")


def test_checkpoints_of_ended_jobs_are_deleted_and_others_stay(
    jobs: JobStore, sweeper: Sweeper, checkpoints: CheckpointStore
) -> None:
    running, ended = run(jobs), run(jobs)
    for job_id in (running.job.id, ended.job.id, "0123456789abcdef"):
        assert checkpoints.put(job_id, 1, b"frame")
    ended.end("cancelled", None, [])
    sweeper.sweep()
    assert checkpoints.redis.keys() == [checkpoint_key(running.job.id).encode()]
