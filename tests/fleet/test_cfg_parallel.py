"""Latent parallelism with real processes: a second UNet worker comes, helps, and is killed in the middle."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from redis import Redis

from infra.local.environment import inherit
from shared.messaging.celery_app import follow_queue
from shared.settings import ROOT
from tests.fleet.conftest import Client, control_image
from tests.fleet.test_replay import replay
from workers.transport.keys import cfg_claim_key

STEPS = 40
#: So long that a worker takes the place of one that was killed before the job ends, on a busy machine, too.
LONG = 160
WANTED: dict[str, Any] = {"num_inference_steps": STEPS, "controlnets": [control_image()]}


@contextmanager
def follower(fleet: Client, name: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Another UNet worker of the fleet, until it is killed, or the block ends."""
    # It generates no jobs itself: it takes offers to follow alone.
    options = ["-n", f"{name}@%h", "--pool=threads", "-E", "-Q", follow_queue("emoji-sd")]
    command = ["-m", "celery", "-A", "workers.unet.app", "worker", *options]
    with (fleet.stack.home / "logs" / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=inherit({**fleet.stack.env, "OMP_NUM_THREADS": "1"}),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 90
        while name not in live_workers(fleet):
            assert time.monotonic() < deadline, fleet.stack.log(name)
            assert process.poll() is None, fleet.stack.log(name)
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)
        deadline = time.monotonic() + 30
        while name in live_workers(fleet):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def live_workers(fleet: Client) -> dict[str, dict[str, Any]]:
    """What each worker reports, by its name on this host."""
    return {worker["name"].split("@")[0]: worker for worker in fleet.get("/v1/fleet").json()["workers"]}


@pytest.fixture(scope="module")
def second(fleet: Client) -> Iterator["subprocess.Popen[bytes]"]:
    with follower(fleet, "unet2") as process:
        # Its model is loaded once it has helped.
        deadline = time.monotonic() + 90
        while not fleet.generate(**WANTED, latent_parallelism="on")["receipt"]["spec"]["split_steps"]:
            assert time.monotonic() < deadline, fleet.stack.log("unet2")
        yield process


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


def test_a_third_worker_takes_the_place_of_a_follower_that_is_killed(fleet: Client) -> None:
    wanted = {**WANTED, "num_inference_steps": LONG}
    with follower(fleet, "unet3") as first, follower(fleet, "unet4") as second:
        processes = {"unet3": first, "unet4": second}
        # Given a job that one of two idle workers follows
        job_id = fleet.submit(**wanted, latent_parallelism="on")
        killed = follower_of(fleet, job_id)
        processes.pop(killed).kill()
        # When it is killed, the other one follows the same job
        job = fleet.wait(job_id)
    assert job["status"] == "succeeded", job["error"]
    assert job["receipt"]["cfg_follower"] == job["receipt"]["worker"]
    helpers = [span["worker"].split("@")[0] for span in job["timeline"] if span["name"] == "uncond branch"]
    assert list(dict.fromkeys(helpers)) == [killed, *processes]
    # Then the image is equal to rounding, and its receipt generates the same file on one worker
    whole = fleet.generate(**wanted, latent_parallelism="off")
    assert np.abs(fleet.pixels(job) - fleet.pixels(whole)).max() <= 1
    replayed = replay(fleet, job)
    assert replayed["receipt"] == job["receipt"]
    assert [image["sha256"] for image in replayed["images"]] == [image["sha256"] for image in job["images"]]


def follower_of(fleet: Client, job_id: str) -> str:
    """Which worker follows a job, once it has done so for some steps."""
    residual: Any = Redis.from_url(fleet.stack.env["SWIFT_RESIDUAL_REDIS_URL"], decode_responses=True)
    since: int | None = None
    for event in fleet.events(job_id):
        claims = list(residual.scan_iter(cfg_claim_key(job_id, "*", "*")))
        if claims and event[1] == "progress":
            step = event[2]["step"]
            since = step if since is None else since
            if step >= since + 10:
                return str(residual.get(claims[0])).split("@")[0]
    raise AssertionError("nobody has followed the job")
