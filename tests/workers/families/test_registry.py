"""A family that is registered is served by everything: proved with one linear layer, end to end."""

import base64
import dataclasses
import io
import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from redis import Redis

from shared.catalog.catalog import read_catalog
from shared.errors import InvalidRequest
from shared.jobs.events import stream_events as events
from shared.jobs.options import LoraLoading
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL, watched
from shared.registry.availability import Availability
from shared.registry.workers import Heartbeat, publish_heartbeat, remove_worker
from shared.settings import Settings
from tests.tiny_models import EMOJI
from tests.toy_family import generate_directly, registered, write_toys
from tests.workers.conftest import worker_maker
from tests.workers.unet.jobs import control as control_spec
from tests.workers.unet.jobs import pixels, run, upload
from tests.workers.unet.specs import spec
from workers.families.base import BaseModel
from workers.families.load_base_model import load_entry
from workers.families.load_controlnet import controlnet_cache
from workers.runtime.activity.device_activity import DeviceActivity
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.unet.cfg_parallel.follower import follow
from workers.unet.cfg_parallel.messages import FollowBranch
from workers.unet.cfg_parallel.timings import CFGTimings
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker

CONTROL = EMOJI / "control" / "2_penguin.png"
EXACT = LoraLoading(mode="exact")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with registered():
        write_toys(tmp_path / "toys")
        yield tmp_path / "toys"


@pytest.fixture
def make_toy_worker(
    servers: Settings, residual: Redis, folder: Path, tmp_path: Path
) -> Iterator[Callable[..., UNetWorker]]:
    """Builds a UNet worker beside a ControlNet server; both load their models from the toys' catalog."""
    residual.flushall()
    settings = servers.model_copy(update={"catalog": folder / "catalog.toml"})
    catalog = read_catalog(settings.catalog)

    def load(name: str) -> BaseModel:
        return load_entry(name, catalog.models[name], settings.catalog, "cpu")

    memory = DeviceMemory(1 << 30)
    controlnets = controlnet_cache(catalog, settings, memory)
    with worker_maker(settings, ModelCache(load, memory), controlnets, ["toy-edge"], tmp_path) as make:
        yield make


def toy_spec(**changes: Any) -> JobSpec:
    return spec(model="toy", guidance_scale=1.5, num_inference_steps=4, **changes)


@pytest.mark.parametrize("has_lora", [False, True])
@pytest.mark.parametrize("has_controlnet", [False, True])
def test_a_registered_family_is_served_with_its_controlnets_and_loras(
    make_toy_worker: Callable[..., UNetWorker], folder: Path, has_controlnet: bool, has_lora: bool
) -> None:
    worker = make_toy_worker()
    wanted = toy_spec(
        controlnets=[control_spec(worker, "toy-edge")] if has_controlnet else [],
        loras=[upload(worker, folder / "lora.safetensors")] if has_lora else [],
        lora_loading=EXACT,
    )
    job = run(worker, wanted)
    image = Image.open(CONTROL) if has_controlnet else None
    assert np.array_equal(pixels(worker, job), generate_directly(folder, wanted, image, lora=has_lora))
    names = {span.name for span in job.timeline}
    assert {"prompt", "before", "after", "vae"} <= names
    assert ("controlnet toy-edge" in names) == has_controlnet
    assert job.receipt is not None
    with worker.models.use("toy") as model:
        assert job.receipt.model_sha256 == model.sha256
    assert [bool(used.sha256) for used in job.receipt.controlnets] == [True] * has_controlnet
    assert [used.step for used in job.receipt.loras] == [0] * has_lora


def test_what_a_registered_familys_job_has_patched_is_taken_out_again(
    make_toy_worker: Callable[..., UNetWorker], folder: Path
) -> None:
    worker = make_toy_worker()
    plain = toy_spec(lora_loading=EXACT)
    run(worker, toy_spec(loras=[upload(worker, folder / "lora.safetensors")], lora_loading=EXACT))
    assert np.array_equal(
        pixels(worker, run(worker, plain)), generate_directly(folder, plain, None, lora=False)
    )


def test_a_registered_family_that_cannot_weigh_tokens_refuses_the_syntax(
    make_toy_worker: Callable[..., UNetWorker],
) -> None:
    worker = make_toy_worker()
    job_id, _ = worker.jobs.create(toy_spec(prompt_syntax="a1111"), tenant=LOCAL)
    with pytest.raises(InvalidRequest, match=r"prompt_syntax 'a1111' .*; model 'toy' is Toy"):
        execute_job(worker, job_id, "unet1@test")


def test_a_registered_family_has_its_own_previews(
    make_toy_worker: Callable[..., UNetWorker],
) -> None:
    worker = make_toy_worker()
    job_id, _ = worker.jobs.create(toy_spec().model_copy(update={"num_inference_steps": 500}), tenant=LOCAL)
    worker.jobs.redis.set(watched(job_id), 1, ex=60)
    execute_job(worker, job_id, "unet1@test")
    [first, *_] = [event for event in events(worker.jobs.redis, job_id) if event and event.kind == "preview"]
    image = Image.open(io.BytesIO(base64.b64decode(json.loads(first.data)["png"])))
    assert image.size == (64, 64)


@contextmanager
def idle_worker(control: Redis, name: str) -> Iterator[None]:
    """Within the block a worker is registered as free, for jobs of the toys' model."""
    heartbeat = Heartbeat(
        name=name, kind="unet", host="test", pid=1, device="cpu", serves=["toy"], loaded=[], jobs=[],
        utilization=0.0, started_at=0.0, version="0",
    )  # fmt: skip
    publish_heartbeat(control, heartbeat, 3600)
    Availability(control).register_free(name, ["toy"], 3600)
    try:
        yield
    finally:
        Availability(control).register_busy(name, ["toy"], 3600)
        remove_worker(control, name)


@pytest.mark.parametrize("has_controlnet", [False, True])
def test_the_branches_of_a_registered_family_run_on_two_workers(
    make_toy_worker: Callable[..., UNetWorker], folder: Path, control: Redis, has_controlnet: bool
) -> None:
    worker, ended = make_toy_worker(), queue.Queue[str]()

    def send_follow(message: FollowBranch, model: str, expires_s: float) -> None:
        threading.Thread(target=lambda: ended.put(follow(second, message, "unet2@test"))).start()

    timings = CFGTimings(first_wait_s=30.0, min_wait_s=30.0, offer_every_s=600.0)
    second = dataclasses.replace(
        worker, activity=DeviceActivity(), followed_jobs={}, models=make_toy_worker().models
    )
    first = dataclasses.replace(worker, send_follow=send_follow, cfg_timings=timings)
    wanted = toy_spec(
        controlnets=[control_spec(worker, "toy-edge")] if has_controlnet else [],
        latent_parallelism="on",
    ).model_copy(update={"num_inference_steps": 200})
    with idle_worker(control, "unet2@test"):
        job = run(first, wanted)
    assert ended.get(timeout=60) == "released"
    assert job.receipt is not None
    # The follower takes a moment to get ready, and then every step
    split = job.receipt.spec.split_steps
    assert split == list(range(split[0], 200))
    assert job.receipt.cfg_follower is not None
    image = Image.open(CONTROL) if has_controlnet else None
    assert np.array_equal(pixels(worker, job), generate_directly(folder, wanted, image, lora=False))
