"""A job whose follower is killed, and which another idle worker follows then, through real Redis."""

import contextlib
import dataclasses
import threading
from typing import Any

import numpy as np
import pytest
from redis import Redis

from tests.infra.local.waiting import eventually
from tests.workers.unet.cfg_parallel.conftest import MakeWorker, idle
from tests.workers.unet.cfg_parallel.test_branches import replay_of, unsplit
from tests.workers.unet.cfg_parallel.test_follower import CountedBusy, Killed
from tests.workers.unet.jobs import control as controlnet
from tests.workers.unet.jobs import pixels, run
from tests.workers.unet.specs import spec
from workers.families.base import BaseModel
from workers.runtime.activity.busy import BusyShare
from workers.runtime.activity.device_activity import DeviceActivity
from workers.runtime.model_cache import ModelCache
from workers.unet.cfg_parallel.channel import branch_channel
from workers.unet.cfg_parallel.follower import follow
from workers.unet.cfg_parallel.messages import FollowBranch
from workers.unet.cfg_parallel.timings import CFGTimings
from workers.unet.worker import UNetWorker

STEPS = 12
WAIT_S = 60.0
#: A killed follower costs the leader `min_wait_s`; a living one needs less, also on a busy machine.
TIMINGS = CFGTimings(first_wait_s=30.0, min_wait_s=5.0, offer_every_s=0.1)
PREPARATION, DIES_IN_STEP = 1, 3


class Followers:
    """Two idle workers: the one that takes the first offer is killed, the other takes those that follow."""

    def __init__(self, leader: UNetWorker, models: ModelCache[BaseModel]) -> None:
        self._worker = dataclasses.replace(leader, models=models)
        self._offers: list[FollowBranch] = []
        self._threads: list[threading.Thread] = []

    def send_follow(self, offer: FollowBranch, model: str, expires_s: float) -> None:
        if any(offer.channel == other.channel for other in self._offers):
            return  # it is repeated
        self._offers.append(offer)
        if len(self._offers) == 1:
            self._start("unet2@test", CountedBusy(PREPARATION + DIES_IN_STEP, self._kill), offer)
        else:
            self._start("unet3@test", BusyShare(), offer)

    def hold_leader(self, *_: Any) -> None:
        """In each forward of the leader: it goes on once a follower has claimed the latest offer."""
        if self._offers:
            eventually(branch_channel(self._worker, self._offers[-1]).is_claimed, WAIT_S)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(WAIT_S)

    def _start(self, name: str, busy: BusyShare, offer: FollowBranch) -> None:
        worker = dataclasses.replace(self._worker, activity=DeviceActivity(follow=busy), followed_jobs={})

        def work() -> None:
            with contextlib.suppress(Killed):
                follow(worker, offer, name)

        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()

    def _kill(self) -> None:
        raise Killed


@pytest.mark.parametrize("has_controlnet", [False, True])
def test_another_idle_worker_takes_the_place_of_a_killed_follower(
    make_worker: MakeWorker, second_models: ModelCache[BaseModel], control: Redis, has_controlnet: bool
) -> None:
    worker = make_worker()
    wanted = spec(
        controlnets=[controlnet(worker)] if has_controlnet else [],
        num_inference_steps=STEPS,
        latent_parallelism="on",
    )
    whole = pixels(worker, run(worker, unsplit(wanted)))
    followers = Followers(worker, second_models)
    leader = dataclasses.replace(worker, cfg_timings=TIMINGS, send_follow=followers.send_follow)
    with worker.models.use("emoji-sd") as model, idle(control, "unet2@test", "unet3@test"):
        unet: Any = model.parts["unet"]
        hook = unet.mid_block.register_forward_hook(followers.hold_leader)
        try:
            job = run(leader, wanted)
        finally:
            hook.remove()
            followers.join()
    # Then both have predicted steps, of one job
    helpers = [span.worker for span in job.timeline if span.name == "uncond branch"]
    assert helpers == ["unet2@test"] * (DIES_IN_STEP - 1) + ["unet3@test"] * helpers.count("unet3@test")
    assert "unet3@test" in helpers
    # And the image differs from the whole batch by rounding, from its replay on one worker by nothing
    assert np.abs(pixels(worker, job) - whole).max() <= 1
    replayed = run(worker, replay_of(wanted, job))
    assert np.array_equal(pixels(worker, replayed), pixels(worker, job))
