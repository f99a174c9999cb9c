"""A receipt replayed: the same file, or the sentence that says what has changed."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ReceiptMismatch
from shared.jobs.options import LoraLoading
from shared.jobs.receipt import Receipt, WorkerReceipt
from shared.jobs.record import Job
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL
from shared.settings import Settings
from shared.storage.object_store import Bucket
from tests.proxy import proxied
from tests.tiny_models import EMOJI
from tests.workers.unet.jobs import control, upload
from tests.workers.unet.specs import spec
from tests.workers.unet.test_lora_loading import running_job, wait_for_step
from workers.lora.cache.cache import LoraCache
from workers.unet.job import execute_job
from workers.unet.output.replay import NO_REPLAY, Replay
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]


def run(worker: UNetWorker, wanted: JobSpec, replays: Receipt | None = None) -> Job:
    job_id, _ = worker.jobs.create(wanted, replays=replays, tenant=LOCAL)
    execute_job(worker, job_id, "unet1@test")
    return worker.jobs.get(job_id)


def again(unet_worker: UNetWorker, job: Job, **changes: Any) -> Job:
    """Draw the job's receipt again, changed by ``changes``."""
    assert job.receipt is not None
    steps = {lora.name: lora.step for lora in job.receipt.loras}
    loading = LoraLoading(mode="replay", steps=steps)
    maps = [controlnet.control_map for controlnet in job.receipt.spec.controlnets]
    wanted = job.spec.with_control_maps(maps)
    wanted = wanted.model_copy(update={"lora_loading": loading})
    return run(unet_worker, wanted, job.receipt.model_copy(update=changes))


def receipt_of(job: JobSpec, engine: str) -> Receipt:
    return Receipt(
        spec=job,
        model_sha256="",
        scheduler_config={},
        controlnets=[],
        loras=[],
        worker=WorkerReceipt(device="cuda", threads=1, dtype="float16", versions={}, engine=engine),
    )


def png(worker: UNetWorker, job: Job, index: int = 0) -> bytes:
    assert job.status == "succeeded", job.error
    return worker.images.get(job.images[index].key)


def test_an_image_whose_loras_came_late_is_replayed_as_the_same_file(make_worker: MakeWorker) -> None:
    worker = make_worker()
    loras = [upload(worker, EMOJI / "loras" / f"{name}.safetensors") for name in ("outline", "twemoji")]
    late = LoraLoading(mode="replay", steps={loras[0].name: 3, loras[1].name: 1})
    wanted = spec(loras=loras, lora_loading=late, num_images=2, controlnets=[control(worker)], width=None)
    job = run(worker, wanted)
    replayed = again(worker, job)
    assert [png(worker, replayed, i) for i in range(2)] == [png(worker, job, i) for i in range(2)]
    assert replayed.receipt == job.receipt
    assert replayed.warnings == []


def test_an_image_of_a_weighted_prompt_is_replayed_as_the_same_file(make_worker: MakeWorker) -> None:
    worker = make_worker()
    texts = {"prompt": "a (penguin:1.4) BREAK [teal]", "negative_prompt": "(blue:0.3)"}
    job = run(worker, spec(**texts, prompt_syntax="a1111"))
    replayed = again(worker, job)
    assert png(worker, replayed) == png(worker, job)
    assert replayed.receipt == job.receipt
    assert job.receipt is not None
    assert job.receipt.spec.prompt_syntax == "a1111"
    assert png(worker, run(worker, spec(**texts))) != png(worker, job)


def test_a_bounded_image_whose_lora_came_late_is_replayed_as_the_same_file(
    make_worker: MakeWorker, servers: Settings, tmp_path: Path
) -> None:
    # Given a LoRA that no cache holds, behind a line that is down for the first two steps
    worker = make_worker()
    lora = upload(worker, EMOJI / "loras" / "outline.safetensors")
    bounded = LoraLoading(mode="bounded", max_async_steps=5)
    wanted = spec(loras=[lora], lora_loading=bounded, latent_parallelism="off")
    with proxied(servers.s3_port) as line:
        settings = servers.model_copy(update={"s3_endpoint_url": line.url})
        bucket = Bucket(settings, settings.lora_bucket, attempts=1)
        far = dataclasses.replace(worker, loras=LoraCache(tmp_path / "far", 10_000_000, bucket, 60))
        line.is_down = True
        with running_job(far, wanted) as job_id:
            wait_for_step(far, job_id, 2)
            line.is_down = False
    job = worker.jobs.get(job_id)
    assert job.receipt is not None
    assert job.receipt.loras[0].step >= 2
    # When a worker whose line is good replays the receipt
    replayed = again(worker, job)
    # Then it is the same file, and its receipt still says how the image came about
    assert png(worker, replayed) == png(worker, job)
    assert replayed.receipt is not None
    assert replayed.receipt.spec.lora_loading == bounded


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_sha256": "0" * 64}, "the weights of model 'emoji-sd'"),
        ({"configs_sha256": "0" * 64}, "a config or tokenizer of model 'emoji-sd'"),
        ({"scheduler_config": {"beta_start": 0.5}}, "beta_start of scheduler 'ddim'"),
    ],
    ids=["model", "configs", "scheduler"],
)
def test_a_changed_model_is_refused_before_anything_is_generated(
    changes: dict[str, Any], told: str, make_worker: MakeWorker
) -> None:
    worker = make_worker()
    job = run(worker, spec())
    with pytest.raises(ReceiptMismatch, match=f"{told} changed.*: it was .*, it is .* now"):
        again(worker, job, **changes)
    [failed] = worker.jobs.page(status="failed", limit=1)[0]
    assert (failed.error and failed.error.code, failed.step) == ("receipt_mismatch", 0)


def test_configs_are_compared_only_with_those_of_the_same_libraries(make_worker: MakeWorker) -> None:
    worker = make_worker()
    job = run(worker, spec())
    assert job.receipt is not None
    older = again(worker, job, configs_sha256="")  # a receipt that does not say them
    assert (older.status, older.warnings) == ("succeeded", [])
    versions = {**job.receipt.worker.versions, "diffusers": "0.1.0"}
    there = job.receipt.worker.model_copy(update={"versions": versions})
    replayed = again(worker, job, configs_sha256="0" * 64, worker=there)
    assert replayed.status == "succeeded"
    [warning] = replayed.warnings
    assert "diffusers" in warning


def test_a_changed_controlnet_is_told_before_its_residuals_are_used(make_worker: MakeWorker) -> None:
    worker = make_worker()
    job = run(worker, spec(controlnets=[control(worker)]))
    assert job.receipt is not None
    [controlnet] = job.receipt.controlnets
    with pytest.raises(ReceiptMismatch, match=f"ControlNet 'edge' changed.*{'0' * 64}.*{controlnet.sha256}"):
        again(worker, job, controlnets=[controlnet.model_copy(update={"sha256": "0" * 64})])
    assert worker.jobs.page(status="failed", limit=1)[0][0].step == 0


def test_lora_bytes_decide_not_their_etag(make_worker: MakeWorker, tmp_path: Path) -> None:
    worker = make_worker()
    lora = upload(worker, EMOJI / "loras" / "twemoji.safetensors")
    job = run(worker, spec(loras=[lora]))
    assert job.receipt is not None
    [used] = job.receipt.loras
    [ref] = job.receipt.spec.loras
    other = job.receipt.spec.model_copy(update={"loras": [ref.model_copy(update={"etag": "other"})]})
    assert png(worker, again(worker, job, spec=other))
    with pytest.raises(ReceiptMismatch, match=f"LoRA '{lora.name}' changed.*{'0' * 64}.*{used.sha256}"):
        again(worker, job, loras=[used.model_copy(update={"sha256": "0" * 64})])


def test_other_versions_draw_and_warn(make_worker: MakeWorker) -> None:
    worker = make_worker()
    job = run(worker, spec())
    assert job.receipt is not None
    here = job.receipt.worker
    other = here.model_copy(update={"versions": {**here.versions, "torch": "1.0.0"}, "threads": 4})
    replayed = again(worker, job, worker=other)
    assert replayed.status == "succeeded"
    assert [warning.split(":")[0] for warning in replayed.warnings] == [
        f"generated with threads {here.threads}, the receipt with 4",
        f"generated with torch {here.versions['torch']}, the receipt with 1.0.0",
    ]


def test_a_receipt_of_another_processor_or_engine_warns_and_an_older_one_does_not(
    make_worker: MakeWorker,
) -> None:
    worker = make_worker()
    job = run(worker, spec())
    assert job.receipt is not None
    here = job.receipt.worker
    assert (here.engine, here.memory_format, here.vae_dtype, here.accelerator) == (
        "eager",
        "contiguous",
        "float32",
        {},
    )
    other = here.model_copy(
        update={
            "accelerator": {"gpu": "H100", "cuda": "13.0"},
            "processor": "x86_64 DEFAULT",
            "cpu_model": "another",
            "engine": "graphs",
            "memory_format": "channels_last",
            "vae_dtype": "float16",
        }
    )
    assert [warning.split(":")[0] for warning in again(worker, job, worker=other).warnings] == [
        "generated with engine eager, the receipt with graphs",
        "generated with memory format contiguous, the receipt with channels_last",
        f"generated with processor {here.processor}, the receipt with x86_64 DEFAULT",
        f"generated with CPU model {here.cpu_model}, the receipt with another",
        "generated with VAE dtype float32, the receipt with float16",
        "generated with gpu unknown, the receipt with H100",
        "generated with cuda unknown, the receipt with 13.0",
    ]
    old = WorkerReceipt(device=here.device, threads=here.threads, dtype=here.dtype, versions=here.versions)
    assert again(worker, job, worker=old).warnings == []


def test_only_the_replay_of_a_compiled_job_is_compiled() -> None:
    job = spec(lora_loading=LoraLoading(mode="replay", steps={}))
    exact, bounded = (spec(lora_loading=LoraLoading(mode=mode)) for mode in ("exact", "bounded"))
    assert [NO_REPLAY.needs_eager_bits(one) for one in (exact, bounded)] == [True, False]
    for engine, needs in (("eager", True), ("graphs", True), ("compile", False)):
        receipt = receipt_of(job, engine)
        assert Replay(receipt).needs_eager_bits(job) is needs


def test_a_controlnet_that_computed_several_jobs_in_one_pass_is_told(make_worker: MakeWorker) -> None:
    worker = make_worker()
    job = run(worker, spec(controlnets=[control(worker)]))
    assert job.receipt is not None
    [controlnet] = job.receipt.controlnets
    replayed = again(worker, job, controlnets=[controlnet.model_copy(update={"batch": 2})])
    [warning] = replayed.warnings
    assert warning.startswith("ControlNet 'edge' computed steps of several jobs in one pass")


def test_the_receipt_says_with_what_a_controlnet_was_computed(make_worker: MakeWorker) -> None:
    for serve in (True, False):  # by a ControlNet worker, and by the UNet worker itself
        worker = make_worker(serve_controlnets=serve)
        job = run(worker, spec(controlnets=[control(worker)]))
        assert job.receipt is not None
        [controlnet] = job.receipt.controlnets
        assert (controlnet.engine, controlnet.memory_format) == ("eager", "contiguous")
    # And a replay that computes it otherwise says so, but not where an older receipt does not know
    other = controlnet.model_copy(update={"engine": "compile", "memory_format": "channels_last"})
    assert [warning.split(":")[0] for warning in again(worker, job, controlnets=[other]).warnings] == [
        "ControlNet 'edge' computed with engine eager, the receipt with compile",
        "ControlNet 'edge' computed with memory format contiguous, the receipt with channels_last",
    ]
    old = controlnet.model_copy(update={"engine": "", "memory_format": ""})
    assert again(worker, job, controlnets=[old]).warnings == []


def test_a_replay_by_another_encoder_warns_and_a_png_has_none() -> None:
    was = receipt_of(spec(output_format="webp"), "eager")
    was = was.model_copy(update={"encoder": {"pillow": "1", "webp": "2"}})
    now = was.model_copy(update={"encoder": {"pillow": "1", "webp": "3"}})
    assert Replay(was).warnings(was) == []
    [warning] = Replay(was).warnings(now)
    assert warning.startswith("encoded by pillow 1, webp 3, the receipt's files by pillow 1, webp 2")
