"""Kills and restarts in the middle of jobs: no accepted job is lost, and its image is the same."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import requests
from numpy.typing import NDArray

from tests.fleet.conftest import Client, control_image
from tests.infra.local.waiting import eventually
from tests.tiny_models import EMOJI

STEPS = 25
#: A job with a ControlNet and a LoRA.
WANTED = {
    "num_inference_steps": STEPS,
    "controlnets": [control_image()],
    "loras": [{"name": "steady"}],
    "lora_loading": {"mode": "exact"},
}


@pytest.fixture(scope="module")
def undisturbed(fleet: Client) -> NDArray[np.int16]:
    """The pixels of `WANTED`."""
    fleet.put_lora("steady", (EMOJI / "loras" / "twemoji.safetensors").read_bytes())
    return fleet.pixels(fleet.generate(**WANTED))


def kill(fleet: Client, name: str) -> None:
    """Send SIGKILL to one process of the stack; the supervisor restarts it.

    Returns when its children are gone, too: gunicorn's worker would still answer for a moment.
    """
    process = psutil.Process(fleet.stack.pids()[name])
    family = [process, *process.children(recursive=True)]
    process.kill()
    _, left = psutil.wait_procs(family, timeout=30)
    assert not left


def wait_until_ready(fleet: Client) -> None:
    eventually(lambda: is_ready(fleet), timeout_s=60)


def is_ready(fleet: Client) -> bool:
    try:
        kinds = {worker["kind"] for worker in fleet.get("/v1/fleet").json()["workers"]}
        return fleet.get("/readyz").status_code == 200 and kinds == {"unet", "controlnet"}
    except (requests.RequestException, KeyError):
        return False  # the API or its Redis is down


@pytest.mark.parametrize("target", ["unet1", "controlnet1", "residual-redis", "redis", "s3", "api"])
def test_a_kill_in_the_middle_of_a_job_changes_nothing_but_time(
    fleet: Client, undisturbed: NDArray[np.int16], target: str
) -> None:
    job_id = fleet.submit(**WANTED)
    next(event for event in fleet.events(job_id) if event[1] == "progress" and event[2]["step"] >= 5)
    kill(fleet, target)
    wait_until_ready(fleet)
    job = fleet.wait(job_id)
    assert job["status"] == "succeeded", job["error"]
    assert np.array_equal(fleet.pixels(job), undisturbed)
    # A lost UNet worker costs the steps since the last checkpoint
    assert bool(job["receipt"].get("continued_at")) == (target == "unet1")


def test_a_worker_that_is_told_to_stop_hands_its_job_over(fleet: Client) -> None:
    wanted = {"num_inference_steps": 40, "lora_loading": {"mode": "exact"}}
    undisturbed = fleet.generate(**wanted)
    job_id = fleet.submit(**wanted)
    reached = next(
        event[2]["step"] for event in fleet.events(job_id) if event[1] == "progress" and event[2]["step"] >= 9
    )
    # When its worker is told to stop, which the supervisor restarts, while another job waits
    waiting_id = fleet.submit(num_inference_steps=2)
    process = psutil.Process(fleet.stack.pids()["unet1"])
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    job = fleet.wait(job_id)
    # Then a worker goes on where it was
    assert job["status"] == "succeeded", job["error"]
    assert job["receipt"]["continued_at"][0] >= reached
    assert job["started_at"] < fleet.wait(waiting_id)["started_at"]
    assert np.array_equal(fleet.pixels(job), fleet.pixels(undisturbed))
    steps = [event[2]["step"] for event in fleet.events(job_id) if event[1] == "progress"]
    assert steps == sorted(set(steps))


def test_a_job_whose_controlnet_workers_stop_generates_the_same_image(
    fleet: Client, undisturbed: NDArray[np.int16]
) -> None:
    job_id = fleet.submit(**WANTED)
    next(event for event in fleet.events(job_id) if event[1] == "progress" and event[2]["step"] >= 5)
    pids = [pid for name, pid in fleet.stack.pids().items() if name.startswith("controlnet")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # they answer no more, and the supervisor does not restart them
    try:
        job = fleet.wait(job_id)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert job["status"] == "succeeded", job["error"]
    assert np.array_equal(fleet.pixels(job), undisturbed)
    workers = {span["worker"].split("@")[0] for span in job["timeline"] if span["name"] == "controlnet edge"}
    assert "unet1" in workers


def test_jobs_of_two_controlnets_from_many_clients_never_wait_for_each_other(fleet: Client) -> None:
    both = [control_image("tiny-controlnet"), control_image("tiny-controlnet", conditioning_scale=0.3)]
    wanted = {"model": "tiny", "num_inference_steps": 4, "controlnets": both}
    expected = fleet.pixels(fleet.generate(**wanted, lora_loading={"mode": "exact"}))
    with ThreadPoolExecutor(8) as clients:
        jobs = list(clients.map(lambda _: fleet.generate(**wanted), range(16)))
    assert max(int(np.abs(fleet.pixels(job) - expected).max()) for job in jobs) <= 1


def test_a_job_accepted_while_every_worker_is_dead_is_generated(fleet: Client) -> None:
    before = fleet.pixels(fleet.generate())
    for name in ("unet1", "controlnet1", "controlnet2"):
        kill(fleet, name)
    job_id = fleet.submit()
    # Then the fleet is not ready, `/readyz` names the missing workers, and the job waits for them
    eventually(lambda: "no UNet worker" in fleet.get("/readyz").json()["checks"]["unet_workers"])
    assert fleet.get("/healthz").status_code == 200
    wait_until_ready(fleet)
    assert np.array_equal(fleet.pixels(fleet.wait(job_id)), before)
