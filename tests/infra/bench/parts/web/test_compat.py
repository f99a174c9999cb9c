"""The worker and the image of part ``compat``; what its calls answer is checked in each of its runs."""

import io

from PIL import Image
from redis import Redis

from infra.bench.parts.web.compat import sample_png
from infra.bench.parts.web.instant_worker import InstantWorker
from shared.jobs.store import JobStore
from shared.settings import Settings
from shared.storage.image_bucket import ImageBucket
from shared.tenants.tenant import LOCAL
from tests.shared.jobs.records import spec


def test_a_job_is_ended_at_once_with_the_image_that_was_given(servers: Settings, control: Redis) -> None:
    control.flushdb()
    png = sample_png(64)
    jobs, worker = JobStore(control, servers), InstantWorker(servers, control, png)
    job_id, _ = jobs.create(spec(num_images=2, seed=7), tenant=LOCAL)
    worker.end(job_id)
    worker.end(job_id)  # a message that comes twice
    job = jobs.get(job_id)
    assert job.status == "succeeded"
    assert [(image.seed, image.width) for image in job.images] == [(7, 64), (8, 64)]
    assert ImageBucket(servers, control).get(job.images[0].key) == png


def test_the_image_is_the_same_in_every_run_and_as_large_as_a_generated_one() -> None:
    png = sample_png(512)
    assert png == sample_png(512)
    assert 300_000 < len(png) < 800_000
    assert Image.open(io.BytesIO(png)).size == (512, 512)
