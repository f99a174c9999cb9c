"""Latent parallelism with real processes: a second UNet worker comes, helps, and is killed in the middle."""

import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from infra.local.environment import inherit
from shared.queues import assist_queue
from shared.settings import ROOT
from tests.fleet.conftest import Client, control_image

STEPS = 40


@pytest.fixture
def second(fleet: Client) -> Iterator["subprocess.Popen[bytes]"]:
    """Another UNet worker of the fleet, until the test has killed it, or has ended."""
    # It draws nothing itself: it listens to requests for assistance alone.
    options = ["-n", "unet2@%h", "--pool=threads", "-E", "-Q", assist_queue("emoji-sd")]
    command = ["-m", "celery", "-A", "workers.unet.app", "worker", *options]
    with (fleet.stack.home / "logs" / "unet2.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=inherit({**fleet.stack.env, "OMP_NUM_THREADS": "1"}),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while not any(name.startswith("unet2@") for name in live_workers(fleet)):
            assert time.monotonic() < deadline, fleet.stack.log("unet2")
            assert process.poll() is None, fleet.stack.log("unet2")
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)
        deadline = time.monotonic() + 30
        while any(name.startswith("unet2@") for name in live_workers(fleet)):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def live_workers(fleet: Client) -> list[str]:
    return [worker["name"] for worker in fleet.get("/v1/fleet").json()["workers"]]


def test_a_second_worker_computes_half_of_a_job_and_its_death_costs_only_time(
    fleet: Client, second: "subprocess.Popen[bytes]"
) -> None:
    wanted = {"num_inference_steps": STEPS, "controlnets": [control_image()]}
    whole = fleet.draw(**wanted, latent_parallelism="off")
    # Given a job of which a second worker computes half
    job_id = fleet.submit(**wanted, latent_parallelism="on")
    next(event for event in fleet.events(job_id) if event[1] == "progress" and event[2]["step"] >= STEPS // 2)
    # When that worker is killed
    second.kill()
    job = fleet.wait(job_id)
    # Then the picture is finished by the one that draws it, equal to rounding
    assert job["status"] == "succeeded", job["error"]
    helpers = {span["worker"].split("@")[0] for span in job["timeline"] if span["name"] == "half"}
    assert helpers == {"unet2"}
    split = job["receipt"]["split_steps"]
    assert split == sorted(split)
    assert 0 < len(split) <= STEPS
    assert np.abs(fleet.pixels(job) - fleet.pixels(whole)).max() <= 1
