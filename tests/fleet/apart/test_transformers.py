"""Flux, SD3, Qwen-Image and Z-Image in one fleet with UNets, whose workers cannot hold all of them."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import diffusers
import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from redis import Redis

from infra.tiny_models.mixed_catalog import (
    MODELS,
    MixedCatalog,
    controlnet_of,
    lora_of,
    write_mixed_catalog,
)
from shared.families.registry import families
from shared.registry.availability import Availability
from tests.fleet.conftest import Client, control_image, running_client
from tests.fleet.test_images import spec_of
from tests.infra.local.waiting import eventually
from tests.transformers_peer import generate_with_transformer

#: Long enough for a kill in the middle, and for another worker that has loaded the model to take part.
STEPS = 40
#: So many jobs at most run until another worker has loaded the model: offers to follow have it do so.
LOADING_JOBS = 10
TRUE_CFG = {"negative_prompt": "a car", "true_cfg_scale": 3.0}
#: What jobs of each transformer say beyond the usual.
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "tiny-flux": TRUE_CFG,
    "tiny-sd3": {"negative_prompt": "a car", "guidance_scale": 4.0},
    "tiny-qwen-image": TRUE_CFG,
    "tiny-z-image": {"guidance_scale": 4.0},
}
#: Those of which diffusers computes guidance in two forwards.
TWO_FORWARDS = [f"tiny-{facts.name}" for facts in families() if facts.guidance_batches == "two_forwards"]
#: Who is killed in whose job.
KILLS = [
    (model, target)
    for model in ("tiny-flux", "tiny-sd3", "tiny-qwen-image", "tiny-z-image")
    for target in ("unet", "controlnet")
]


class Mixed(NamedTuple):
    """Two UNet workers, each with memory for about half of the models, and a ControlNet worker."""

    client: Client
    catalog: MixedCatalog
    undisturbed_jobs: dict[str, dict[str, Any]]  # by what they say

    def diffusers_pixels(self, job: dict[str, Any]) -> NDArray[np.int16]:
        """The image of a job with a ControlNet, by diffusers."""
        model = job["request"]["model"]
        pipe = diffusers.DiffusionPipeline.from_pretrained(self.catalog.models[model], dtype=torch.float32)
        folder = self.catalog.controlnets[model]
        kind = json.loads((folder / "config.json").read_text())["_class_name"]
        controlnet = getattr(diffusers, kind).from_pretrained(folder, dtype=torch.float32)
        loras = [(self.catalog.loras[model], lora["scale"]) for lora in job["request"]["loras"]]
        return generate_with_transformer(pipe, [controlnet], spec_of(job), loras)[0]

    def undisturbed(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """A job that nothing has disturbed, generated once."""
        key = json.dumps(wanted)
        if key not in self.undisturbed_jobs:
            self.undisturbed_jobs[key] = self.client.generate(**wanted)
        return self.undisturbed_jobs[key]

    def worker_with(self, job_id: str) -> str:
        """The worker that generates a job; a ControlNet worker names the jobs that it is attached to, too."""
        workers = self.client.get("/v1/fleet").json()["workers"]
        [name] = [one["name"] for one in workers if one["kind"] == "unet" and job_id in one["jobs"]]
        return str(name).partition("@")[0]

    def has(self, *names: str) -> bool:
        """Whether these workers have reported themselves since their last start."""
        pids = {worker["pid"] for worker in self.client.get("/v1/fleet").json()["workers"]}
        running = self.client.stack.pids()
        return pids >= {running.get(name) for name in names}

    def followed(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """A job at whose beginning both UNet workers are free and have loaded its model."""
        split = {**wanted, "latent_parallelism": "on"}
        for _ in range(LOADING_JOBS):
            if self._loaded_by(split["model"]) == {"unet1", "unet2"}:
                break
            self.client.generate(**split)
        else:
            pytest.fail(f"{split['model']} is loaded by {self._loaded_by(split['model'])} alone")
        redis = Redis.from_url(self.client.stack.env["SWIFT_REDIS_URL"], decode_responses=True)
        assert eventually(lambda: len(Availability(redis).free_workers()) == 2)
        return self.client.generate(**split)

    def _loaded_by(self, model: str) -> set[str]:
        workers = self.client.get("/v1/fleet").json()["workers"]
        return {worker["name"].partition("@")[0] for worker in workers if model in worker["loaded"]}


def wanted(model: str, **changes: Any) -> dict[str, Any]:
    """A job with a ControlNet that diffusers computes the same way."""
    return {
        "model": model,
        "width": 64,
        "height": 64,
        "num_inference_steps": 4,
        "controlnets": [control_image(controlnet_of(model), conditioning_scale=0.7)],
        "lora_loading": {"mode": "exact"},
        "latent_parallelism": "off",
        **TRANSFORMERS[model],
        **changes,
    }


def lora(model: str) -> list[dict[str, Any]]:
    """The LoRA of a job."""
    return [{"name": lora_of(model), "scale": 0.8}]


def long_job(model: str, **changes: Any) -> dict[str, Any]:
    """A job of many steps, with a ControlNet and a LoRA."""
    return wanted(model, **{"num_inference_steps": STEPS, "loras": lora(model), **changes})


def receipt_of_pixels(job: dict[str, Any]) -> dict[str, Any]:
    """What the receipt says of the pixels: not where another attempt went on."""
    return {name: value for name, value in job["receipt"].items() if name not in ("continued_at", "digest")}


def workers_of(job: dict[str, Any], span: str) -> list[str]:
    """The workers of a job's spans of this name, in their order."""
    return [one["worker"].partition("@")[0] for one in job["timeline"] if one["name"] == span]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    home = tmp_path_factory.mktemp("mixed")
    catalog = write_mixed_catalog(home / "models")
    workers = {"unet_workers": 2, "controlnet_workers": 1, "model_memory_bytes": catalog.memory_bytes}
    with running_client(home / "run", catalog=catalog.path, **workers) as client:
        for model, file in catalog.loras.items():
            client.put_lora(lora_of(model), file.read_bytes())
        yield Mixed(client, catalog, {})


@pytest.mark.parametrize("model", TRANSFORMERS)
def test_a_transformers_job_with_a_controlnet_is_diffusers_own_image(model: str, mixed: Mixed) -> None:
    job = mixed.undisturbed(wanted(model))
    # Weights that lie elsewhere in memory may give other last bits: `tests/parity` compares the same ones
    assert np.abs(mixed.client.pixels(job) - mixed.diffusers_pixels(job)).max() <= 1
    assert "controlnet1" in workers_of(job, f"controlnet {controlnet_of(model)}")


@pytest.mark.parametrize("model", TRANSFORMERS)
def test_a_transformers_job_with_a_lora_of_s3_is_diffusers_own_to_rounding(model: str, mixed: Mixed) -> None:
    client = mixed.client
    job, plain = client.generate(**wanted(model, loras=lora(model))), mixed.undisturbed(wanted(model))
    assert np.abs(client.pixels(job) - mixed.diffusers_pixels(job)).max() <= 1
    assert not np.array_equal(client.pixels(job), client.pixels(plain))


@pytest.mark.parametrize("model", TWO_FORWARDS)
def test_guidance_on_two_workers_is_exact_where_diffusers_runs_two_forwards(model: str, mixed: Mixed) -> None:
    whole, split = mixed.undisturbed(long_job(model)), mixed.followed(long_job(model))
    assert not whole["receipt"]["spec"].get("split_steps")
    # Then the other worker has computed the unconditional branch from some step on
    steps = split["receipt"]["spec"].get("split_steps")
    assert steps
    assert steps == list(range(steps[0], steps[0] + len(steps)))
    [leader] = set(workers_of(split, "blocks"))
    assert {leader, *workers_of(split, "uncond branch")} == {"unet1", "unet2"}
    assert np.array_equal(mixed.client.pixels(split), mixed.client.pixels(whole))


def test_models_of_all_families_are_served_in_less_memory_than_they_have(mixed: Mixed) -> None:
    client = mixed.client
    plain = {"num_inference_steps": 3, "lora_loading": {"mode": "exact"}, "width": 64, "height": 64}
    alone = [client.pixels(client.generate(model=model, **plain)) for model in MODELS]
    # When clients ask for all of them at once, and again
    asked = [*MODELS, *MODELS]
    with ThreadPoolExecutor(len(MODELS)) as clients:
        jobs = list(clients.map(lambda model: client.generate(model=model, **plain), asked))
    # Then no worker holds all of them, and every image is the same
    for worker in client.get("/v1/fleet").json()["workers"]:
        assert worker["kind"] == "controlnet" or set(worker["loaded"]) < set(MODELS)
    for i, job in enumerate(jobs):
        assert np.array_equal(client.pixels(job), alone[i % len(MODELS)])


@pytest.mark.parametrize(("model", "target"), KILLS)
def test_a_kill_in_the_middle_of_a_transformers_job_changes_nothing_but_time(
    model: str, target: str, mixed: Mixed
) -> None:
    # A LoRA patches layers of Z-Image that its ControlNet has, too: then ControlNet workers cannot compute it
    is_apart = (model, target) == ("tiny-z-image", "controlnet")
    body = long_job(model, **({"loras": []} if is_apart else {}))
    client, undisturbed = mixed.client, mixed.undisturbed(body)
    # Given the workers that it takes, after the kill before; of a job with a lost ControlNet, one UNet worker
    needed = ["controlnet1"] if target == "controlnet" else ["controlnet1", "unet1", "unet2"]
    assert eventually(lambda: mixed.has(*needed), timeout_s=120)
    job_id = client.submit(**body)
    next(event for event in client.events(job_id) if event[1] == "progress" and event[2]["step"] >= 5)
    killed = mixed.worker_with(job_id) if target == "unet" else "controlnet1"
    psutil.Process(client.stack.pids()[killed]).kill()
    job = client.wait(job_id)
    assert job["status"] == "succeeded", job["error"]
    assert np.array_equal(client.pixels(job), client.pixels(undisturbed))
    assert receipt_of_pixels(job) == receipt_of_pixels(undisturbed)
    # A lost UNet worker costs an attempt, and a lost ControlNet worker no more than steps
    assert workers_of(job, "attempt") == ([killed] if target == "unet" else [])
    assert killed in (*workers_of(job, "attempt"), *workers_of(job, f"controlnet {controlnet_of(model)}"))
