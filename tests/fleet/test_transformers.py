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

from infra.tiny_models.mixed_catalog import (
    MODELS,
    MixedCatalog,
    controlnet_of,
    lora_of,
    write_mixed_catalog,
)
from tests.fleet.conftest import Client, control_image, running_client
from tests.fleet.test_images import spec_of
from tests.infra.local.waiting import eventually
from tests.transformers_peer import generate_with_transformer

#: Long enough for another worker to take part.
STEPS = 80
#: Long enough for a kill in the middle.
KILLED_STEPS = 40
TRUE_CFG = {"negative_prompt": "a car", "true_cfg_scale": 3.0}
#: What jobs of each transformer say beyond the usual.
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "tiny-flux": TRUE_CFG,
    "tiny-sd3": {"negative_prompt": "a car", "guidance_scale": 4.0},
    "tiny-qwen-image": TRUE_CFG,
    "tiny-z-image": {"guidance_scale": 4.0},
}


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

    def is_whole(self) -> bool:
        """Whether all processes of workers are those that run now."""
        pids = {worker["pid"] for worker in self.client.get("/v1/fleet").json()["workers"]}
        running = self.client.stack.pids()
        return pids == {running.get(name) for name in ("unet1", "unet2", "controlnet1")}


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


def long_job(model: str, **changes: Any) -> dict[str, Any]:
    """A job of many steps, with a ControlNet and a LoRA."""
    loras = [{"name": lora_of(model), "scale": 0.8}]
    return wanted(model, **{"num_inference_steps": STEPS, "loras": loras, **changes})


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
    job = mixed.client.generate(**wanted(model))
    # Weights that lie elsewhere in memory may give other last bits: `tests/parity` compares the same ones
    assert np.abs(mixed.client.pixels(job) - mixed.diffusers_pixels(job)).max() <= 1
    assert "controlnet1" in workers_of(job, f"controlnet {controlnet_of(model)}")


@pytest.mark.parametrize("model", TRANSFORMERS)
def test_a_transformers_job_with_a_lora_of_s3_is_diffusers_own_to_rounding(model: str, mixed: Mixed) -> None:
    client = mixed.client
    job = client.generate(**wanted(model, loras=[{"name": lora_of(model), "scale": 0.8}]))
    assert np.abs(client.pixels(job) - mixed.diffusers_pixels(job)).max() <= 1
    assert not np.array_equal(client.pixels(job), client.pixels(client.generate(**wanted(model))))


@pytest.mark.parametrize("model", ["tiny-flux", "tiny-qwen-image"])
def test_guidance_on_two_workers_is_exact_where_diffusers_runs_two_forwards(model: str, mixed: Mixed) -> None:
    client, whole = mixed.client, mixed.undisturbed(long_job(model))
    split = client.generate(**long_job(model, latent_parallelism="on"))
    assert split["receipt"]["spec"]["split_steps"]
    assert not whole["receipt"]["spec"].get("split_steps")
    assert np.array_equal(client.pixels(split), client.pixels(whole))


@pytest.mark.parametrize("target", ["unet", "controlnet"])
@pytest.mark.parametrize("model", TRANSFORMERS)
def test_a_kill_in_the_middle_of_a_transformers_job_changes_nothing_but_time(
    model: str, target: str, mixed: Mixed
) -> None:
    # A LoRA patches layers of Z-Image that its ControlNet has, too: then ControlNet workers cannot compute it
    is_apart = (model, target) == ("tiny-z-image", "controlnet")
    changes: dict[str, Any] = {"loras": []} if is_apart else {}
    body = long_job(model, num_inference_steps=KILLED_STEPS, **changes)
    client, undisturbed = mixed.client, mixed.undisturbed(body)
    assert eventually(mixed.is_whole, timeout_s=60)  # after the kill before
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


def test_models_of_all_families_are_served_in_less_memory_than_they_have(mixed: Mixed) -> None:
    client = mixed.client
    plain = {"num_inference_steps": 3, "lora_loading": {"mode": "exact"}, "width": 64, "height": 64}
    alone = [client.pixels(client.generate(model=model, **plain)) for model in MODELS]
    # When clients ask for all of them at once, and again
    with ThreadPoolExecutor(len(MODELS)) as clients:
        jobs = list(clients.map(lambda i: client.generate(model=MODELS[i % len(MODELS)], **plain), range(24)))
    # Then no worker holds all of them, and every image is the same
    for worker in client.get("/v1/fleet").json()["workers"]:
        assert worker["kind"] == "controlnet" or set(worker["loaded"]) < set(MODELS)
    for i, job in enumerate(jobs):
        assert np.array_equal(client.pixels(job), alone[i % len(MODELS)])
