"""What a deleted tenant leaves is deleted, and nothing of anybody else, over real Redis and real S3."""

from collections.abc import Iterator
from typing import TypeVar

import pytest
from redis import Redis

from shared import keys
from shared.errors import NotFound
from shared.jobs.store import JobStore
from shared.settings import Settings
from shared.storage.image_bucket import ImageBucket
from shared.storage.lora_names import folder_of
from shared.storage.object_store import Bucket
from shared.tenants.store import TenantStore
from shared.tenants.tenant import LOCAL, Tenant
from shared.webhooks.deliveries import DeliveryStore, NewDelivery
from shared.webhooks.endpoint_store import EndpointStore
from tests.workers.unet.specs import spec
from workers.unet.maintenance.sweep_cursors import SweepCursors
from workers.unet.maintenance.tenant_cleanup import ARRIVALS_S, TenantCleanup

B = TypeVar("B", bound=Bucket)
#: Their names begin alike, and one comes right behind the folder of acme in the order of keys.
OTHERS = (LOCAL, "acm", "acme-2", "acme0")


@pytest.fixture
def settings(servers: Settings) -> Settings:
    return servers.model_copy(update={"image_bucket": "images-of-tenants", "lora_bucket": "loras-of-tenants"})


@pytest.fixture
def jobs(control: Redis, settings: Settings) -> JobStore:
    control.flushall()
    return JobStore(control, settings)


@pytest.fixture
def images(control: Redis, settings: Settings) -> ImageBucket:
    return emptied(ImageBucket(settings, control))


@pytest.fixture
def loras(settings: Settings) -> Bucket:
    return emptied(Bucket(settings, settings.lora_bucket))


@pytest.fixture
def tenants(control: Redis, jobs: JobStore) -> TenantStore:
    store = TenantStore(control)
    for name in ("acme", *OTHERS):
        if name != LOCAL:
            store.create(Tenant(id=name, created_at=1.0))
    return store


def emptied(bucket: B) -> B:
    bucket.ready()
    for stat in list(bucket.list()):
        bucket.delete(stat.key)
    return bucket


@pytest.fixture
def cleanups(jobs: JobStore, images: ImageBucket, loras: Bucket) -> Iterator[TenantCleanup]:
    """Each as a worker that has just started has it; small parts."""
    return (TenantCleanup(jobs, images, loras, SweepCursors(jobs.redis), at_once=10) for _ in iter(int, 1))


def use(tenant: str, jobs: JobStore, images: ImageBucket, loras: Bucket, count: int = 1) -> list[str]:
    """Have a tenant own something of each kind; returns its jobs, of which the first one runs."""
    made = [jobs.create(spec(), tenant=tenant)[0] for _ in range(count)]
    assert jobs.claim(made[0], "w") is not None
    for n in range(count):
        images.put(keys.control_key(f"{n:064x}", tenant), b"png", content_type="image/png")
        loras.put(f"{folder_of(tenant)}style-{n}.safetensors", b"lora", content_type="x/y")
    loras.put(f"{folder_of(tenant)}notes.txt", b"no LoRA", content_type="text/plain")
    deliveries = DeliveryStore(jobs.redis, 60)
    entry = str(jobs.redis.xadd(keys.WEBHOOK_EVENTS, {"event": "job.started"}))
    made_of = [NewDelivery("wh_1", f"msg_{job_id}", "job.started", job_id, "", "{}") for job_id in made]
    assert deliveries.add(tenant, entry, made_of) == count
    EndpointStore(jobs.redis).default(tenant, 1.0)
    return made


def owned(tenant: str, jobs: JobStore, images: ImageBucket, loras: Bucket) -> tuple[object, ...]:
    """What there is of a tenant."""
    own_loras = {stat.key for stat in loras.list(folder_of(tenant))}
    return (
        {job.id for job in jobs.page(tenant=tenant)[0]},
        {stat.key for stat in images.list(keys.control_prefix(tenant))},
        {key for key in own_loras if tenant != LOCAL or "/" not in key},
        jobs.redis.zcard(keys.webhook_due(tenant)),
        jobs.redis.exists(keys.webhook_default(tenant)),
        jobs.redis.zscore(keys.WEBHOOK_TENANTS, tenant) is None,
    )


def test_all_of_a_deleted_tenant_goes_in_parts_and_nothing_of_others(
    tenants: TenantStore,
    jobs: JobStore,
    images: ImageBucket,
    loras: Bucket,
    cleanups: Iterator[TenantCleanup],
) -> None:
    for name in OTHERS:
        use(name, jobs, images, loras)
    made = use("acme", jobs, images, loras, count=25)
    before = {name: owned(name, jobs, images, loras) for name in OTHERS if name != LOCAL}
    next(cleanups).delete_tenants()
    assert len(owned("acme", jobs, images, loras)[0]) == 25  # nobody has deleted it
    tenants.delete("acme")
    # When workers sweep, and none goes on where it has begun
    left = []
    for _ in range(4):
        next(cleanups).delete_tenants()
        left.append(len(list(loras.list(folder_of("acme")))))
    # Then each deletes a part
    assert left == [16, 6, 0, 0]
    assert owned("acme", jobs, images, loras) == (set(), set(), set(), 0, 0, True)
    assert {name: owned(name, jobs, images, loras) for name in before} == before
    assert len(jobs.page(tenant=LOCAL)[0]) == 1
    assert loras.exists("style-0.safetensors")
    assert images.exists(keys.control_key(f"{0:064x}", LOCAL))
    for job_id in made:
        with pytest.raises(NotFound):
            jobs.get(job_id)
    assert jobs.redis.zrangebyscore(keys.IMAGES, "-inf", "+inf") != []  # their images follow
    rest = [
        str(key) for key in jobs.redis.scan_iter("swift:*acme*") if "acme-2" not in key and "acme0" not in key
    ]
    assert [key for key in rest if jobs.redis.ttl(key) < 0] == []  # what is left expires


def test_what_arrives_later_is_deleted_until_a_day_has_passed(
    tenants: TenantStore,
    jobs: JobStore,
    images: ImageBucket,
    loras: Bucket,
    cleanups: Iterator[TenantCleanup],
) -> None:
    tenants.delete("acme")
    next(cleanups).delete_tenants()
    # Given an upload and a submission with a key that was still known
    loras.put("tenants/acme/late.safetensors", b"lora", content_type="x/y")
    late = jobs.create(spec(), tenant="acme")[0]
    for _ in range(2):
        next(cleanups).delete_tenants()
    assert not loras.exists("tenants/acme/late.safetensors")
    with pytest.raises(NotFound):
        jobs.get(late)
    assert jobs.redis.zscore(keys.TENANTS_DELETING, "acme") is not None
    # When the day has passed, it is looked at no more
    jobs.redis.zincrby(keys.TENANTS_DELETING, -ARRIVALS_S - 1, "acme")
    next(cleanups).delete_tenants()
    assert jobs.redis.zscore(keys.TENANTS_DELETING, "acme") is None


@pytest.mark.parametrize("name", [LOCAL, "", "acm", "*", "acme/../acm", "unknown"])
def test_a_tenant_that_is_named_by_mistake_loses_nothing(
    tenants: TenantStore,
    jobs: JobStore,
    images: ImageBucket,
    loras: Bucket,
    cleanups: Iterator[TenantCleanup],
    name: str,
) -> None:
    for one in (LOCAL, "acm"):
        use(one, jobs, images, loras)
    before = [owned(one, jobs, images, loras) for one in (LOCAL, "acm")]
    jobs.redis.zadd(keys.TENANTS_DELETING, {name: 1.0})
    next(cleanups).delete_tenants()
    assert [owned(one, jobs, images, loras) for one in (LOCAL, "acm")] == before
