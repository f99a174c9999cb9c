"""Latent parallelism with real processes: UNet workers come, help, and are killed in the middle of a job."""

import subprocess
import sys
import time
from typing import Any, NamedTuple

import pytest
from redis import Redis

from infra.local.environment import inherit
from shared.messaging.celery_app import follow_queue
from shared.settings import ROOT
from tests.fleet.conftest import Client, control_image
from tests.fleet.test_replay import replay
from workers.transport.keys import cfg_claim_key

#: So long that a worker takes the place of one that was killed before the job ends, on a busy machine, too.
STEPS = 120
#: A follower is killed once the job has made so many steps since it is there.
FOLLOWED_STEPS = 5
WANTED: dict[str, Any] = {"num_inference_steps": STEPS, "controlnets": [control_image()]}
NAMES = ("unet2", "unet3")


class Followers:
    """Other UNet workers of the fleet, which take offers to follow and generate no jobs themselves."""

    def __init__(self, fleet: Client, *names: str) -> None:
        self._fleet = fleet
        self._processes = {name: self._start(name) for name in names}

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 120
        while missing := self._processes.keys() - live_workers(self._fleet):
            for name in missing:
                assert time.monotonic() < deadline, self._fleet.stack.log(name)
                assert self._processes[name].poll() is None, self._fleet.stack.log(name)
            time.sleep(0.1)

    def kill_in_turn(self, job_id: str) -> list[str]:
        """Kill each one that follows the job once it has done so for some steps; returns them in order."""
        url = self._fleet.stack.env["SWIFT_RESIDUAL_REDIS_URL"]
        residual: Any = Redis.from_url(url, decode_responses=True)
        killed, since = list[str](), 0
        for _, kind, data in self._fleet.events(job_id):
            if kind != "progress":
                continue
            keys = residual.scan_iter(cfg_claim_key(job_id, "*", "*"))
            following = {str(residual.get(key)).split("@")[0] for key in keys} - {*killed}
            if not following:
                since = data["step"]
            elif data["step"] >= since + FOLLOWED_STEPS:
                [name] = following
                self._processes[name].kill()
                killed.append(name)
        return killed

    def stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait(timeout=30)
        deadline = time.monotonic() + 30
        while self._processes.keys() & live_workers(self._fleet):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def _start(self, name: str) -> "subprocess.Popen[bytes]":
        options = ["-n", f"{name}@%h", "--pool=threads", "-E", "-Q", follow_queue("emoji-sd")]
        command = [sys.executable, "-m", "celery", "-A", "workers.unet.app", "worker", *options]
        environment = inherit({**self._fleet.stack.env, "OMP_NUM_THREADS": "1"})
        with (self._fleet.stack.home / "logs" / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)


def live_workers(fleet: Client) -> set[str]:
    """Names of workers on this host."""
    return {worker["name"].split("@")[0] for worker in fleet.get("/v1/fleet").json()["workers"]}


class SplitJob(NamedTuple):
    """A job whose followers were killed on the way, each after a number of steps."""

    job: dict[str, Any]
    killed: list[str]  # in order


@pytest.fixture(scope="module")
def split(fleet: Client) -> SplitJob:
    followers = Followers(fleet, *NAMES)
    try:
        followers.wait_until_ready()
        job_id = fleet.submit(**WANTED, latent_parallelism="on")
        killed = followers.kill_in_turn(job_id)
        split = SplitJob(fleet.wait(job_id), killed)
    finally:
        followers.stop()
    # Both have computed steps of the job, one after the other was killed. Here, not in a test: if one has
    # not, as the machine was busy, a second try is of another job.
    helpers = [span["worker"] for span in split.job["timeline"] if span["name"] == "uncond branch"]
    in_order = list(dict.fromkeys(name.split("@")[0] for name in helpers))
    assert split.killed[:1] == in_order[:1], split.job["error"]
    assert sorted(in_order) == sorted(NAMES)
    return split


def test_a_killed_follower_costs_only_time_and_another_worker_takes_its_place(
    fleet: Client, split: SplitJob
) -> None:
    job = split.job
    assert job["status"] == "succeeded", job["error"]
    assert split.killed
    steps = job["receipt"]["spec"]["split_steps"]
    assert steps == sorted(steps)
    assert 0 < len(steps) <= STEPS


def test_one_worker_generates_the_receipt_of_a_split_image_as_the_same_file(
    fleet: Client, split: SplitJob
) -> None:
    job = split.job
    assert job["receipt"]["cfg_follower"] == job["receipt"]["worker"]
    # When its receipt is generated again, now that the followers are gone
    replayed = replay(fleet, job)
    # Then both branches come from one worker, and not a byte is another
    assert "uncond branch" not in {span["name"] for span in replayed["timeline"]}
    assert replayed["warnings"] == []
    assert replayed["receipt"] == job["receipt"]
    assert [image["sha256"] for image in replayed["images"]] == [i["sha256"] for i in job["images"]]
