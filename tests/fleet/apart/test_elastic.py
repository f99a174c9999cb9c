"""Two UNet workers and no ControlNet worker: an idle one computes ControlNets for the other's job."""

import os
import signal
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline
from numpy.typing import NDArray

from tests.diffusers_peer import generate_with_diffusers
from tests.fleet.conftest import Client, control_image, running_client
from tests.fleet.test_images import spec_of
from tests.infra.local.waiting import eventually
from tests.tiny_models import EMOJI

#: Long enough for what happens in the middle of it.
STEPS = 50
WANTED: dict[str, Any] = {
    "num_inference_steps": STEPS,
    "controlnets": [control_image()],
    "lora_loading": {"mode": "exact"},
    "latent_parallelism": "off",  # an idle worker serves instead
}
#: A job whose encoder takes so long that an idle worker, which notices a step in a moment, does so before it
#: ends, on a busy machine, too.
LARGE = WANTED | {"width": 128, "height": 128, "num_inference_steps": 8}
SPAN = "controlnet edge"


@pytest.fixture(scope="module")
def elastic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("elastic")
    with running_client(home / "run", unet_workers=2, controlnet_workers=0) as client:
        eventually(lambda: all(has_loaded(client).values()), timeout_s=60)
        yield client


def has_loaded(client: Client) -> dict[str, bool]:
    """By worker: whether it has loaded the ControlNet."""
    workers = client.get("/v1/fleet").json()["workers"]
    return {worker["name"]: "edge" in worker["loaded_controlnets"] for worker in workers}


def pids(client: Client) -> set[int]:
    """The processes of live workers."""
    return {worker["pid"] for worker in client.get("/v1/fleet").json()["workers"]}


def by_diffusers(job: dict[str, Any]) -> NDArray[np.int16]:
    """The pixels of a job's image, which are diffusers' own, whoever computes."""
    options = {"safety_checker": None, "requires_safety_checker": False}
    pipe = StableDiffusionPipeline.from_pretrained(EMOJI / "model", dtype=torch.float32, **options)
    edge = ControlNetModel.from_pretrained(EMOJI / "controlnets" / "edge", dtype=torch.float32)
    return generate_with_diffusers(pipe, [edge], spec_of(job))[0]


@pytest.fixture(scope="module")
def undisturbed(elastic: Client) -> NDArray[np.int16]:
    """The pixels of `WANTED`."""
    job = elastic.generate(**WANTED)
    pixels = elastic.pixels(job)
    assert np.array_equal(pixels, by_diffusers(job))
    return pixels


def serving(client: Client, job_id: str) -> dict[str, Any]:
    """The heartbeat of the worker that serves steps of the job; empty if none does."""
    workers = client.get("/v1/fleet").json()["workers"]
    serving = (one for one in workers if one["activity"] == "serve" and one["jobs"] == [])
    return next((one for one in serving if job_id in one["attached_jobs"].get("edge", [])), {})


def spans(job: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [span for span in job["timeline"] if span["name"] == name]


def worker_of(job: dict[str, Any]) -> str:
    """The worker that denoised."""
    [name] = {span["worker"] for span in spans(job, "encoder")}
    return str(name)


def loop(job: dict[str, Any]) -> tuple[float, float]:
    """When the denoising loop began and ended, in seconds since the epoch."""
    found = [*spans(job, "encoder"), *spans(job, "decoder")]
    created_at = time_of(job)
    return (
        created_at + min(span["start_s"] for span in found),
        created_at + max(span["end_s"] for span in found),
    )


def time_of(job: dict[str, Any]) -> float:
    """When its timeline begins, in seconds since the epoch."""
    return datetime.fromisoformat(job["created_at"]).timestamp()


def progressed(client: Client, job_id: str) -> None:
    """Return once some steps of the job are done."""
    next(event for event in client.events(job_id) if event[1] == "progress" and event[2]["step"] >= 5)


def test_an_idle_worker_computes_the_controlnet_of_the_others_job(elastic: Client) -> None:
    job = elastic.generate(**LARGE)
    assert np.array_equal(elastic.pixels(job), by_diffusers(job))
    # Then each step's ControlNet was computed once, mostly by the idle worker
    computed, decoders = spans(job, SPAN), spans(job, "decoder")
    assert len(computed) == len(decoders) == LARGE["num_inference_steps"]
    own = [span for span in computed if span["worker"] == worker_of(job)]
    assert len(own) < len(computed) / 2
    # And the other one computed only what nobody had claimed when its decoder needed it
    for span in own:
        assert any(one["start_s"] <= span["start_s"] <= span["end_s"] <= one["end_s"] for one in decoders)


def test_a_worker_that_serves_begins_a_job_at_once_and_each_computes_its_own(
    elastic: Client, undisturbed: NDArray[np.int16]
) -> None:
    # Given a job whose ControlNet the other worker computes
    first_id = elastic.submit(**WANTED | {"num_inference_steps": 100})
    progressed(elastic, first_id)
    shown = eventually(lambda: serving(elastic, first_id))
    assert shown["activity_shares"]["serve"] > 0
    # When a second job comes
    second = elastic.generate(**WANTED)
    first = elastic.wait(first_id)
    assert np.array_equal(elastic.pixels(second), undisturbed)
    # Then the worker that served has taken it
    server = worker_of(second)
    assert server == shown["name"] != worker_of(first)
    assert server in {span["worker"] for span in spans(first, SPAN)}
    # And while both run, each computes its own ControlNet, and nothing is sent
    begin, end = max(loop(first)[0], loop(second)[0]), min(loop(first)[1], loop(second)[1])
    assert begin < end
    for job in (first, second):
        times = [(time_of(job) + span["start_s"], span["worker"]) for span in spans(job, SPAN)]
        assert {worker for start_s, worker in times if begin < start_s < end} == {worker_of(job)}


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_goes_on_when_the_worker_that_serves_it_goes(
    signal_number: signal.Signals, elastic: Client, undisturbed: NDArray[np.int16]
) -> None:
    # After the first signal, this shows that the next process serves, too
    eventually(lambda: len(found := has_loaded(elastic)) == 2 and all(found.values()), timeout_s=60)
    job_id = elastic.submit(**WANTED)
    server = eventually(lambda: serving(elastic, job_id))["name"]
    process = psutil.Process(elastic.stack.pids()[server.split("@")[0]])
    os.kill(process.pid, signal_number)
    job = elastic.wait(job_id)
    assert np.array_equal(elastic.pixels(job), undisturbed)
    assert worker_of(job) != server
    computed = spans(job, SPAN)
    assert {span["worker"] for span in computed} <= {worker_of(job), server}
    assert len(computed) >= STEPS  # what it had begun was computed again
    process.wait(60)
    eventually(lambda: process.pid not in pids(elastic), timeout_s=60)
