"""A worker without memory for its model's text encoders, alone and beside one that encodes prompts for it."""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from redis import Redis

from infra.local.environment import inherit
from shared import keys
from shared.settings import ROOT
from tests.fleet.conftest import Client
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


def test_an_image_is_the_same_whoever_has_encoded_its_prompt(fleet: Client, keyed: Client) -> None:
    def generate(prompt: str) -> None:
        job, whole = (client.generate(prompt=prompt, seed=7, **WANTED) for client in (keyed, fleet))
        assert np.array_equal(keyed.pixels(job), fleet.pixels(whole))
        [computed_by] = {span["worker"] for span in job["timeline"] if span["name"] == "encoder"}
        assert computed_by.startswith("unet1@")

    # Given nobody else who has the text encoders, the worker loads them
    before = lookups(keyed, "none")
    generate(f"a red apple on a blue background {secrets.token_hex(4)}")  # no other run's
    assert eventually(lambda: lookups(keyed, "none") - before, REPORTED_S) == 1
    with helper(keyed):
        # When another worker has them, and is idle, it is asked: on a busy machine not always in time
        prompts = (f"a penguin and {count} fish" for count in range(100))
        generate(next(prompts))
        while "prompt encoded elsewhere" not in keyed.stack.log("unet1"):
            generate(next(prompts))
        assert eventually(lambda: lookups(keyed, "asked"), REPORTED_S) >= 1
    # When it is gone, the worker loads them again
    generate("a green apple on a blue background")
