"""Bounded asynchronous loading in real jobs, through a proxy to a real S3 server that breaks and stalls."""

import dataclasses
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.errors import DeadlineExceeded, LoraGone, LoraUnavailable
from shared.jobs.events import stream_events
from shared.jobs.options import LoraLoading
from shared.jobs.record import Job
from shared.jobs.spec import JobSpec, LoraRef
from shared.keys import LOCAL
from shared.metrics import LORA_EFFECTIVE_STEP, LORA_LOOKUPS
from shared.settings import Settings
from shared.storage.object_store import Bucket
from tests.proxy import Proxy, proxied
from tests.tiny_models import EMOJI
from tests.workers.lora.cache.buckets import counted
from tests.workers.unet.jobs import pixels, run, upload
from tests.workers.unet.specs import spec
from workers.lora.cache.cache import LoraCache
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]
TWEMOJI, OUTLINE = (EMOJI / "loras" / f"{name}.safetensors" for name in ("twemoji", "outline"))
EXACT = LoraLoading(mode="exact")
pytestmark = pytest.mark.usefixtures("pristine")


@pytest.fixture
def proxy(servers: Settings) -> Iterator[Proxy]:
    with proxied(servers.s3_port) as running:
        yield running


@pytest.fixture
def make_remote(make_worker: MakeWorker, proxy: Proxy, tmp_path: Path) -> MakeWorker:
    """Builds a worker whose LoRAs come through the proxy, into an empty cache; images go straight to S3."""

    def make(**changes: object) -> UNetWorker:
        worker = make_worker(serve_controlnets=False, **changes)
        settings = worker.settings.model_copy(update={"s3_endpoint_url": proxy.url})
        bucket = Bucket(settings, settings.lora_bucket, attempts=1)
        return dataclasses.replace(worker, loras=LoraCache(tmp_path / "far", 10_000_000, bucket, 60))

    return make


@contextmanager
def running_job(worker: UNetWorker, wanted: JobSpec) -> Iterator[str]:
    """A running job, by id; after the block it has ended."""
    job_id, _ = worker.jobs.create(wanted, tenant=LOCAL)
    runner = threading.Thread(target=execute_job, args=[worker, job_id, "unet1@test"])
    runner.start()
    try:
        yield job_id
    finally:
        runner.join(timeout=120)
        assert not runner.is_alive()


def wait_for_step(worker: UNetWorker, job_id: str, step: int) -> None:
    for event in stream_events(worker.jobs.redis, job_id):
        if event and event.kind == "progress" and json.loads(event.data)["step"] >= step:
            return


def steps_of(job: Job) -> list[int]:
    assert job.receipt is not None, job.error
    return [lora.step for lora in job.receipt.loras]


def test_a_broken_download_takes_no_more_steps_than_the_bound(make_remote: MakeWorker, proxy: Proxy) -> None:
    worker = make_remote()
    wanted = spec(loras=[upload(worker, TWEMOJI)], lora_loading=LoraLoading(max_async_steps=2))
    proxy.cuts, proxy.cut_after_bytes = 3, 100_000
    job = run(worker, wanted)
    assert proxy.cuts == 0
    assert steps_of(job)[0] <= 2
    [fetch] = [span for span in job.timeline if span.name == f"lora {wanted.loras[0].name} from s3"]
    assert fetch.counts["fetched_bytes"] >= wanted.loras[0].size_bytes


def test_steps_run_while_s3_is_down_and_the_lora_still_takes_effect(
    make_remote: MakeWorker, proxy: Proxy, make_worker: MakeWorker
) -> None:
    worker = make_remote()
    ref = upload(worker, TWEMOJI)
    proxy.is_down = True
    before = _late_steps()
    with running_job(worker, spec(loras=[ref], lora_loading=LoraLoading(max_async_steps=4))) as job_id:
        wait_for_step(worker, job_id, 2)
        proxy.is_down = False
    job = worker.jobs.get(job_id)
    [step] = steps_of(job)
    assert 2 <= step <= 4
    assert _late_steps() == before + step
    # And a replay gives the same image.
    replay = LoraLoading(mode="replay", steps={ref.name: step})
    again = run(make_worker(), spec(loras=[ref], lora_loading=replay))
    assert np.array_equal(pixels(worker, job), pixels(worker, again))


def test_a_lora_that_never_arrives_fails_its_job_by_name_without_an_image(
    make_remote: MakeWorker, proxy: Proxy
) -> None:
    worker = make_remote(lora_wait_s=0.1, max_attempts=2)
    ref = upload(worker, TWEMOJI)
    proxy.is_down = True
    job_id, _ = worker.jobs.create(spec(loras=[ref]), tenant=LOCAL)
    for _ in range(2):
        with pytest.raises(LoraUnavailable):
            execute_job(worker, job_id, "unet1@test")
        assert worker.jobs.get(job_id).status == "queued"
    assert execute_job(worker, job_id, "unet1@test") == "not claimed"
    job = worker.jobs.get(job_id)
    assert (job.status, job.images) == ("failed", [])
    assert job.error is not None
    assert job.error.code == "lora_unavailable"
    assert f"LoRA '{ref.name}' did not arrive in time: S3 does not answer" in job.error.detail
    # And when S3 is back, so are jobs with that LoRA.
    proxy.is_down = False
    assert run(worker, spec(loras=[ref])).status == "succeeded"


def test_a_job_that_waits_for_its_lora_can_be_cancelled(make_remote: MakeWorker, proxy: Proxy) -> None:
    worker = make_remote()
    proxy.gate.clear()  # no response comes, and the connection stays open
    with running_job(worker, spec(loras=[upload(worker, TWEMOJI)], lora_loading=EXACT)) as job_id:
        proxy.wait_for_connections(1)
        worker.jobs.cancel(job_id)
    assert worker.jobs.get(job_id).status == "cancelled"


def test_a_job_that_waits_for_its_lora_keeps_its_deadline(make_remote: MakeWorker, proxy: Proxy) -> None:
    worker = make_remote(job_timeout_s=0.5)
    proxy.is_down = True
    job_id, _ = worker.jobs.create(spec(loras=[upload(worker, TWEMOJI)], lora_loading=EXACT), tenant=LOCAL)
    with pytest.raises(DeadlineExceeded):
        execute_job(worker, job_id, "unet1@test")


def test_each_lora_arrives_by_itself_and_keeps_its_own_bound(make_remote: MakeWorker, proxy: Proxy) -> None:
    # Given a LoRA in the cache, and another one that is still being fetched
    worker = make_remote()
    structural = upload(worker, OUTLINE).model_copy(update={"max_async_steps": 0})
    late = upload(worker, TWEMOJI).model_copy(update={"max_async_steps": 4})
    run(worker, spec(loras=[structural]))
    proxy.gate.clear()
    with running_job(worker, spec(loras=[late, structural])) as job_id:
        wait_for_step(worker, job_id, 2)
        proxy.gate.set()
    # Then one takes effect from the first step on, and the other as soon as it has arrived
    late_step, structural_step = steps_of(worker.jobs.get(job_id))
    assert structural_step == 0
    assert 2 <= late_step <= 4


def test_a_replay_fails_for_a_lost_lora_before_its_step(make_remote: MakeWorker) -> None:
    worker = make_remote()
    gone = LoraRef(name="gone", etag="0" * 32, size_bytes=10, scale=1.0)
    job_id, _ = worker.jobs.create(
        spec(
            loras=[gone],
            num_inference_steps=100,
            lora_loading=LoraLoading(mode="replay", steps={"gone": 99}),
        ),
        tenant=LOCAL,
    )
    with pytest.raises(LoraGone, match="'gone'"):
        execute_job(worker, job_id, "unet1@test")
    assert worker.jobs.get(job_id).step < 99


def test_a_lora_in_memory_needs_neither_s3_nor_the_disk(make_remote: MakeWorker, proxy: Proxy) -> None:
    worker = make_remote()
    wanted = spec(loras=[upload(worker, OUTLINE)], lora_loading=EXACT)
    first = run(worker, wanted)
    proxy.is_down = True
    for entry in worker.loras.directory.entries():
        entry.path.unlink()
    before = counted(LORA_LOOKUPS, role="leader")
    again = run(worker, wanted)
    assert np.array_equal(pixels(worker, first), pixels(worker, again))
    assert counted(LORA_LOOKUPS, role="leader")["memory"] == before.get("memory", 0) + 1
    names = [span.name for span in again.timeline if span.name.startswith("lora ")]
    assert names == [f"lora {wanted.loras[0].name} {what}" for what in ("from memory", "prepare")]


def test_a_job_that_has_ended_leaves_no_thread_and_holds_no_lora(make_remote: MakeWorker) -> None:
    refs = [upload(worker := make_remote(lora_memory_bytes=1_000_000), path) for path in (OUTLINE, TWEMOJI)]
    for ref in refs:
        run(worker, spec(loras=[ref], lora_loading=EXACT))
        for thread in threading.enumerate():
            if thread.name == f"lora {ref.name}":
                thread.join(timeout=60)
                assert not thread.is_alive()
    # The first was evicted for the second: nobody held it any more.
    [key] = worker.lora_memory.keys()
    assert refs[1].name in key


def test_a_lora_that_was_evicted_from_memory_comes_from_the_disk(make_remote: MakeWorker) -> None:
    worker = make_remote(lora_memory_bytes=0)
    wanted = spec(loras=[upload(worker, OUTLINE)], lora_loading=EXACT)
    before = counted(LORA_LOOKUPS, role="leader")
    first, again = run(worker, wanted), run(worker, wanted)
    assert np.array_equal(pixels(worker, first), pixels(worker, again))
    for tier in ("s3", "disk"):
        assert counted(LORA_LOOKUPS, role="leader")[tier] == before.get(tier, 0) + 1


def test_an_overwritten_lora_is_never_served_for_the_new_one(make_remote: MakeWorker) -> None:
    worker = make_remote()
    old = upload(worker, TWEMOJI)
    first = run(worker, spec(loras=[old], lora_loading=EXACT))
    bucket = Bucket(worker.settings, worker.settings.lora_bucket)
    body = OUTLINE.read_bytes()
    etag = bucket.put(f"{old.name}.safetensors", body, content_type="application/octet-stream")
    new = old.model_copy(update={"etag": etag, "size_bytes": len(body)})
    second = run(worker, spec(loras=[new], lora_loading=EXACT))
    assert not np.array_equal(pixels(worker, first), pixels(worker, second))
    assert first.receipt is not None
    assert second.receipt is not None
    assert [r.loras[0].sha256 for r in (first.receipt, second.receipt)] == [
        _sha256(path) for path in (TWEMOJI, OUTLINE)
    ]


def _late_steps() -> float:
    samples: list[Any] = next(iter(LORA_EFFECTIVE_STEP.collect())).samples
    return float(next(sample.value for sample in samples if sample.name.endswith("_sum")))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_embeddings_in_the_file_of_a_lora_are_left_out_with_a_warning(
    make_remote: MakeWorker, tmp_path: Path
) -> None:
    worker = make_remote()
    tensors = load_file(OUTLINE)
    save_file(tensors | {"bundle_emb.my style.clip_l": torch.zeros(2, 128)}, tmp_path / "bundle.safetensors")
    plain, bundle = (upload(worker, path) for path in (OUTLINE, tmp_path / "bundle.safetensors"))
    without, job = (run(worker, spec(loras=[ref], lora_loading=EXACT)) for ref in (plain, bundle))
    assert without.warnings == []
    assert job.warnings == [f"LoRA {bundle.name!r}: the embeddings in its file (my style) are not applied"]
    assert np.array_equal(pixels(worker, without), pixels(worker, job))
