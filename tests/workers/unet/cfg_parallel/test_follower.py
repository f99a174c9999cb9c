"""What a follower does besides predicting: prepare, claim, leave."""

import dataclasses
import json
import queue
import threading
from collections.abc import Callable

import pytest
import torch
from redis import Redis

from shared import keys
from shared.keys import LOCAL
from shared.messaging.celery_app import unet_queue
from shared.metrics import LORA_LOOKUPS
from shared.registry.loaded_models import LoadedModels
from tests.infra.local.waiting import eventually
from tests.tiny_models import EMOJI
from tests.workers.conftest import load
from tests.workers.lora.cache.buckets import counted
from tests.workers.running import running
from tests.workers.unet.cfg_parallel.conftest import MakePair, Pair
from tests.workers.unet.jobs import control as controlnet
from tests.workers.unet.jobs import upload
from tests.workers.unet.specs import spec
from workers.families.base import BaseModel
from workers.runtime.activity.busy import BusyShare
from workers.runtime.activity.device_activity import DeviceActivity
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.runtime.watchdog import Watchdog
from workers.unet.cfg_parallel.follower import follow
from workers.unet.cfg_parallel.messages import BranchStep
from workers.unet.cfg_parallel.policy import Preempted, Preemption
from workers.unet.cfg_parallel.timings import CFGTimings
from workers.unet.controlnet.claims.overdue_steps import OverdueSteps
from workers.unet.job import execute_job

STEPS = 12


class CountedBusy(BusyShare):
    """Calls ``then`` when the device begins to work for the ``n``-th time."""

    def __init__(self, n: int, then: Callable[[], object]) -> None:
        super().__init__()
        self._left, self._then = n, then

    def __enter__(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._then()
        super().__enter__()


def test_weights_that_a_follower_has_patched_stay_as_after_any_job(pair: Pair) -> None:
    lora = upload(pair.first, EMOJI / "loras" / "twemoji.safetensors")
    before = [sum(counted(LORA_LOOKUPS, role=role).values()) for role in ("leader", "follower")]
    channel = pair.offer(spec(loras=[lora])).channel
    step = BranchStep(step=0, total=4, t=999.0, loras=[lora.name])
    prediction = None
    while prediction is None:  # its LoRA is on its way
        channel.send_step(step, torch.zeros(1, 4, 8, 8))
        received = channel.receive(60)
        assert received is not None
        prediction = received[1]
    channel.release()
    pair.join()
    assert pair.ended == ["released"]
    after = [sum(counted(LORA_LOOKUPS, role=role).values()) for role in ("leader", "follower")]
    assert after == [before[0], before[1] + 1]  # no hit or miss of the job
    with pair.second.models.use("emoji-sd") as model:
        assert [scale for _, scale in model.patcher.patched] == [1.0]
        assert model.patched_with == {(lora.name, lora.etag)}


def test_a_follower_finds_the_images_of_the_tenant_whose_job_it_follows(pair: Pair) -> None:
    wanted = spec(controlnets=[controlnet(pair.first)])
    public = keys.control_key(wanted.controlnets[0].image, tenant=LOCAL)
    own = keys.control_key(wanted.controlnets[0].image, "acme")
    pair.first.images.put(own, pair.first.images.get(public), content_type="image/png")
    pair.first.images.delete(public)
    job_id, _ = pair.first.jobs.create(wanted, tenant="acme")
    execute_job(pair.first, job_id, "unet1@test")
    pair.join()
    job = pair.first.jobs.get(job_id)
    assert (job.status, pair.ended) == ("succeeded", ["released"])
    assert job.receipt is not None
    assert job.receipt.spec.split_steps


def test_a_follower_that_waits_for_a_controlnet_leaves_when_its_attempt_is_over(
    make_pair: MakePair, second_models: ModelCache[BaseModel], control: Redis
) -> None:
    # Given a follower whose ControlNet nobody serves
    pair = make_pair(second_models, serve_controlnets=False, residual_timeout_s=20.0)
    pair.second = dataclasses.replace(pair.second, served_controlnets=[])
    offer = pair.offer(spec(controlnets=[controlnet(pair.first)]))
    assert offer.channel.receive(60) is not None
    offer.channel.send_step(BranchStep(step=0, total=4, t=999.0, loras=[]), torch.zeros(1, 4, 8, 8))
    eventually(lambda: pair.first.residual.llen(keys.controlnet_steps("edge")))
    # When the attempt loses its job
    control.delete(keys.lease(offer.job_id))
    pair.join()
    # Then it does not wait for the ControlNet as long as a living job would
    assert pair.ended == ["attempt over"]


def test_a_follower_leaves_when_a_job_waits_and_the_leader_goes_on_alone(pair: Pair, control: Redis) -> None:
    # Given a follower that checks after every step, and another job that comes during its third step
    waiting, preparation, steps = unet_queue("emoji-sd"), 1, 3
    busy = CountedBusy(preparation + steps, lambda: control.rpush(waiting, "a message"))
    pair.second = dataclasses.replace(
        pair.second, activity=DeviceActivity(follow=busy), cfg_timings=CFGTimings(check_every_s=0.0)
    )
    try:
        job = pair.run(spec(num_inference_steps=STEPS))
    finally:
        control.delete(waiting)
    # Then it has answered three and left, and the step that was requested meanwhile was the last to be split
    assert pair.ended == ["another job waits"]
    assert job.receipt is not None
    assert [span.worker for span in job.timeline if span.name == "uncond branch"] == ["unet2@test"] * steps
    assert len(job.receipt.spec.split_steps) == steps + 1
    assert pair.pixels(job).any()


def test_a_follower_shows_which_job_it_follows_and_that_it_is_busy(pair: Pair) -> None:
    assert (pair.second.followed_jobs, pair.second.activity.utilization()) == ({}, 0.0)
    offer = pair.offer(spec())
    assert offer.channel.receive(60) is not None
    # Once it is ready, it has worked, and its session is shown
    assert pair.second.followed_jobs == {"emoji-sd": [offer.job_id]}
    assert pair.second.activity.utilization() > 0
    offer.channel.release()
    pair.join()
    assert pair.second.followed_jobs == {}


def test_a_follower_serves_steps_of_other_jobs_that_are_overdue(pair: Pair) -> None:
    steps, served = OverdueSteps(), threading.Event()
    steps.connect(lambda: True, served.set)
    steps.look()
    pair.second = dataclasses.replace(pair.second, overdue_steps=steps)
    offer = pair.offer(spec())
    assert served.wait(60)
    offer.channel.release()
    pair.join()
    assert pair.ended == ["released"]


def test_a_follower_leaves_for_a_job_of_any_model_that_it_serves(pair: Pair, control: Redis) -> None:
    other = next(model for model in pair.second.serves if model != "emoji-sd")
    assert pair.offer(spec()).channel.receive(60) is not None
    try:
        control.rpush(unet_queue(other), "a message")
        pair.join()
    finally:
        control.delete(unet_queue(other))
    assert pair.ended == ["another job waits"]


def test_a_follower_stays_while_only_jobs_wait_that_it_leaves_to_others(pair: Pair, control: Redis) -> None:
    # Given a job that has just come, of a model that only another worker has loaded
    other = next(model for model in pair.second.serves if model != "emoji-sd")
    offer, holders = pair.claim(spec()), LoadedModels(control)
    loads_slowly: ModelCache[BaseModel] = ModelCache(load, DeviceMemory(1 << 60), lambda name: 1 << 50)
    worker = dataclasses.replace(pair.second, models=loads_slowly)
    preemption = Preemption(worker, spec(), offer.message, "unet2@test")
    job_id, _ = pair.first.jobs.create(spec(model=other), tenant=LOCAL)
    try:
        holders.register("unet3@test", [other], [other], 60)
        control.rpush(unet_queue(other), json.dumps({"headers": {"id": job_id}}))
        preemption.check_now()
        # When that worker evicts the model
        holders.register("unet3@test", [other], [], 60)
        with pytest.raises(Preempted, match="another job waits"):
            preemption.check_now()
    finally:
        control.delete(unet_queue(other), keys.model_holders(other))


def test_a_follower_that_hangs_ends_its_process_and_not_the_job(
    make_pair: MakePair, second_models: ModelCache[BaseModel], unet2_is_idle: None
) -> None:
    # Given a follower whose device does not come back from its first step
    released, reasons = threading.Event(), queue.Queue[str]()
    pair = make_pair(second_models, timings=CFGTimings(first_wait_s=30.0))
    watchdog, preparation = Watchdog(0.0, end=reasons.put), 1
    pair.second = dataclasses.replace(
        pair.second,
        settings=pair.second.settings.model_copy(update={"job_timeout_s": 1}),
        watchdog=watchdog,
        activity=DeviceActivity(follow=CountedBusy(preparation + 1, released.wait)),
    )
    try:
        # When a job is generated with it
        job_id, _ = pair.first.jobs.create(spec(num_inference_steps=STEPS), tenant=LOCAL)
        execute_job(pair.first, job_id, "unet1@test")
        # Then the job goes on alone, and the other process would end
        assert pair.first.jobs.get(job_id).status == "succeeded"
        with running(watchdog):
            assert f"following job {job_id} did not come back" in reasons.get(timeout=30)
    finally:
        released.set()


class Killed(BaseException):
    """Ends a thread as a kill ends a process: no handler of ours catches it."""


def test_a_worker_that_is_killed_while_it_prepares_keeps_no_other_from_following(pair: Pair) -> None:
    # Given an attempt whose first offer is taken by a worker that dies while it loads the model
    def die(name: str) -> BaseModel:
        raise Killed

    offer = pair.claim(spec())
    dying = dataclasses.replace(pair.first, models=ModelCache(die, DeviceMemory(1 << 40)))
    with pytest.raises(Killed):
        follow(dying, offer.message, "unet3@test")
    # When another worker takes the next offer
    offer.channel.release()
    assert follow(pair.second, offer.message, "unet2@test") == "released"
    # Then it was ready, and a third one had nothing to claim any more
    ready = offer.channel.receive(0)
    assert ready is not None
    assert ready[0].worker == "unet2@test"
    assert follow(pair.second, offer.message, "unet4@test") == "already followed"
    assert offer.channel.receive(0) is None


def test_one_of_many_workers_that_take_an_offer_follows(pair: Pair) -> None:
    channel = pair.claim(spec()).channel
    assert [channel.claim(name) for name in ("unet2", "unet3", "unet4")] == [True, False, False]


def test_a_worker_that_an_offer_excludes_does_not_follow(pair: Pair) -> None:
    offer = pair.claim(spec())
    excluding = offer.message.model_copy(update={"excluded": ["unet2@test"]})
    assert follow(pair.second, excluding, "unet2@test") == "excluded"
    assert not offer.channel.is_claimed()
