"""Flux, SD3, Qwen-Image and Z-Image in one fleet with UNets, whose workers cannot hold all of them."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import diffusers
import numpy as np
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
from tests.transformers_peer import generate_with_transformer

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

    def diffusers_pixels(self, job: dict[str, Any]) -> NDArray[np.int16]:
        """The image of a job with a ControlNet, by diffusers."""
        model = job["request"]["model"]
        pipe = diffusers.DiffusionPipeline.from_pretrained(self.catalog.models[model], dtype=torch.float32)
        folder = self.catalog.controlnets[model]
        kind = json.loads((folder / "config.json").read_text())["_class_name"]
        controlnet = getattr(diffusers, kind).from_pretrained(folder, dtype=torch.float32)
        loras = [(self.catalog.loras[model], lora["scale"]) for lora in job["request"]["loras"]]
        return generate_with_transformer(pipe, [controlnet], spec_of(job), loras)[0]


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


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    home = tmp_path_factory.mktemp("mixed")
    catalog = write_mixed_catalog(home / "models")
    workers = {"unet_workers": 2, "controlnet_workers": 1, "model_memory_bytes": catalog.memory_bytes}
    with running_client(home / "run", catalog=catalog.path, **workers) as client:
        for model, file in catalog.loras.items():
            client.put_lora(lora_of(model), file.read_bytes())
        yield Mixed(client, catalog)


@pytest.mark.parametrize("model", TRANSFORMERS)
def test_a_transformers_job_with_a_controlnet_is_diffusers_own_image(model: str, mixed: Mixed) -> None:
    job = mixed.client.generate(**wanted(model))
    # Weights that lie elsewhere in memory may give other last bits: `tests/parity` compares the same ones
    assert np.abs(mixed.client.pixels(job) - mixed.diffusers_pixels(job)).max() <= 1
    name = f"controlnet {controlnet_of(model)}"
    served = [span["worker"] for span in job["timeline"] if span["name"] == name]
    assert any(worker.startswith("controlnet1@") for worker in served)


@pytest.mark.parametrize("model", TRANSFORMERS)
def test_a_transformers_job_with_a_lora_of_s3_is_diffusers_own_to_rounding(model: str, mixed: Mixed) -> None:
    client = mixed.client
    job = client.generate(**wanted(model, loras=[{"name": lora_of(model), "scale": 0.8}]))
    assert np.abs(client.pixels(job) - mixed.diffusers_pixels(job)).max() <= 1
    assert not np.array_equal(client.pixels(job), client.pixels(client.generate(**wanted(model))))


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
