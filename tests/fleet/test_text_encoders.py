"""A worker without memory for its model's text encoders, alone and beside one that encodes prompts for it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from redis import Redis

from infra.local.environment import inherit
from shared import keys
from shared.settings import ROOT
from tests.fleet.conftest import Client, running_client
from tests.infra.local.waiting import eventually
from tests.tiny_models import EMOJI
from workers.runtime.weights.source import estimate_bytes

READY_S, REPORTED_S = 90.0, 30.0
WANTED: dict[str, Any] = {
    "num_inference_steps": 6,
    "guidance_scale": 3.0,
    "lora_loading": {"mode": "exact"},
    "latent_parallelism": "off",  # an idle worker does nothing but encode
}
MODEL_BYTES = estimate_bytes(str(EMOJI / "model"), "float32")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A fleet whose only worker has no memory for text encoders beside their model."""
    home, workers = tmp_path_factory.mktemp("small"), {"unet_workers": 1, "controlnet_workers": 0}
    with running_client(home / "run", **workers, model_memory_bytes=MODEL_BYTES - 1) as client:
        yield client


@contextmanager
def helper(fleet: Client) -> Iterator[None]:
    """Another worker of the fleet, with memory for everything; jobs go to the first by its name."""
    env = {**fleet.stack.env, "OMP_NUM_THREADS": "1", "SWIFT_MODEL_MEMORY_BYTES": str(2 * MODEL_BYTES)}
    options = ["worker", "-n", "unet2@%h", "--pool=threads", "--concurrency=1", "--without-mingle"]
    command = [sys.executable, "-m", "celery", "-A", "workers.unet.app", *options]
    control: Redis = Redis.from_url(fleet.stack.env["SWIFT_REDIS_URL"], decode_responses=True)
    with (fleet.stack.home / "logs" / "unet2.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=inherit(env), stdout=log, stderr=log)
    try:
        assert eventually(lambda: control.zcard(keys.FREE_WORKERS) == 2, READY_S), fleet.stack.log("unet2")
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def lookups(fleet: Client, tier: str) -> float:
    """How often the fleet's first worker has found embeddings there, as far as it has reported."""
    lines = fleet.get("/metrics").text.splitlines()
    found = [
        line
        for line in lines
        if line.startswith("swift_embedding_lookups_total{")
        and 'process="unet1@' in line
        and f'"{tier}"' in line
    ]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def test_an_image_is_the_same_whoever_has_encoded_its_prompt(fleet: Client, small: Client) -> None:
    def generate(prompt: str) -> None:
        job, whole = (client.generate(prompt=prompt, seed=7, **WANTED) for client in (small, fleet))
        assert np.array_equal(small.pixels(job), fleet.pixels(whole))
        [computed_by] = {span["worker"] for span in job["timeline"] if span["name"] == "encoder"}
        assert computed_by.startswith("unet1@")

    # Given nobody else who has the text encoders, the worker loads them
    generate("a red apple on a blue background")
    assert eventually(lambda: lookups(small, "none"), REPORTED_S) == 1
    with helper(small):
        # When another worker has them, and is idle, it is asked: on a busy machine not always in time
        prompts = (f"a penguin and {count} fish" for count in range(100))
        generate(next(prompts))
        while "prompt encoded elsewhere" not in small.stack.log("unet1"):
            generate(next(prompts))
        assert eventually(lambda: lookups(small, "asked"), REPORTED_S) >= 1
    # When it is gone, the worker loads them again
    generate("a green apple on a blue background")
