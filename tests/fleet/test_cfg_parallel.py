"""Latent parallelism with real processes: a second UNet worker comes, helps, and is killed in the middle."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from infra.local.environment import inherit
from shared.messaging.celery_app import follow_queue
from shared.settings import ROOT
from tests.fleet.conftest import Client, control_image
from tests.fleet.test_replay import replay

STEPS = 40
WANTED: dict[str, Any] = {"num_inference_steps": STEPS, "controlnets": [control_image()]}


@pytest.fixture(scope="module")
def second(fleet: Client) -> Iterator["subprocess.Popen[bytes]"]:
    """Another UNet worker of the fleet, until it is killed, or the tests have ended."""
    # It generates no jobs itself: it takes offers to follow alone.
    options = ["-n", "unet2@%h", "--pool=threads", "-E", "-Q", follow_queue("emoji-sd")]
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
        deadline = time.monotonic() + 90
        while not any(name.startswith("unet2@") for name in live_workers(fleet)):
            assert time.monotonic() < deadline, fleet.stack.log("unet2")
            assert process.poll() is None, fleet.stack.log("unet2")
            time.sleep(0.1)
        # Its model is loaded once it has helped.
        while not fleet.generate(**WANTED, latent_parallelism="on")["receipt"]["spec"]["split_steps"]:
            assert time.monotonic() < deadline, fleet.stack.log("unet2")
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


@pytest.fixture(scope="module")
def split(fleet: Client, second: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """A job of which a second worker computed half, until it was killed on the way."""
    job_id = fleet.submit(**WANTED, latent_parallelism="on")
    next(event for event in fleet.events(job_id) if event[1] == "progress" and event[2]["step"] >= STEPS // 2)
    second.kill()
    return fleet.wait(job_id)


def test_a_second_worker_computes_half_of_a_job_and_its_death_costs_only_time(
    fleet: Client, split: dict[str, Any]
) -> None:
    # The image is finished by the worker that generates it, equal to rounding
    assert split["status"] == "succeeded", split["error"]
    helpers = {span["worker"].split("@")[0] for span in split["timeline"] if span["name"] == "uncond branch"}
    assert helpers == {"unet2"}
    steps = split["receipt"]["spec"]["split_steps"]
    assert steps == sorted(steps)
    assert 0 < len(steps) <= STEPS
    whole = fleet.generate(**WANTED, latent_parallelism="off")
    assert np.abs(fleet.pixels(split) - fleet.pixels(whole)).max() <= 1


def test_one_worker_generates_the_receipt_of_a_split_image_as_the_same_file(
    fleet: Client, split: dict[str, Any]
) -> None:
    own = split["receipt"]["worker"]
    assert split["receipt"]["cfg_follower"] == own
    # When its receipt is generated again, now that the second worker is gone
    replayed = replay(fleet, split)
    # Then both branches come from one worker, and not a byte is another
    assert "uncond branch" not in {span["name"] for span in replayed["timeline"]}
    assert replayed["warnings"] == []
    assert replayed["receipt"] == split["receipt"]
    assert [image["sha256"] for image in replayed["images"]] == [i["sha256"] for i in split["images"]]
