"""Latent parallelism: a second worker's half against the whole, through real Redis."""

import dataclasses
import io
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from redis import Redis

from shared import keys
from shared.catalog.preprocessors import fill_in
from shared.jobs.options import LoraLoading
from shared.jobs.receipt import Receipt
from shared.jobs.spec import ControlNetSpec, JobSpec
from shared.jobs.store import Job
from shared.messaging.celery_app import unet_queue
from shared.messaging.messages import FollowBranch
from shared.metrics import LORA_LOOKUPS
from shared.registry.availability import Availability
from shared.registry.workers import Heartbeat, publish_heartbeat, remove_worker
from tests.diffusers_peer import mask_image, source_image
from tests.tiny_models import EMOJI, LAYOUTS
from tests.workers.conftest import load
from tests.workers.lora.cache.buckets import counted
from tests.workers.unet.jobs import control as controlnet
from tests.workers.unet.jobs import pixels, upload
from tests.workers.unet.latents.test_initial_latents import stored
from tests.workers.unet.specs import spec
from workers.families.base_model import BaseModel
from workers.runtime.busy import BusyShare
from workers.runtime.model_cache import DeviceMemory, ModelCache
from workers.runtime.watchdog import Watchdog
from workers.unet.cfg_parallel.channel import (
    READY,
    BranchChannel,
    BranchPrediction,
    BranchStep,
    branch_channel,
)
from workers.unet.cfg_parallel.follower import UncondBranch, follow
from workers.unet.cfg_parallel.policy import should_split
from workers.unet.job import execute_job
from workers.unet.output.receipt import worker_receipt
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]
STEPS = 12


@pytest.fixture(scope="module")
def second_models() -> ModelCache[BaseModel]:
    """A second device's own weights."""
    return ModelCache(load, DeviceMemory(1 << 40))


@pytest.fixture
def other_is_idle(control: Redis) -> Iterator[None]:
    heartbeat = Heartbeat(
        name="unet2@test", kind="unet", host="test", pid=1, device="cpu", serves=["emoji-sd", *LAYOUTS],
        loaded=[], jobs=[], utilization=0.0, started_at=0.0, version="0",
    )  # fmt: skip
    publish_heartbeat(control, heartbeat, 60)
    availability = Availability(control)
    availability.register_free(heartbeat.name, heartbeat.serves, 60)
    yield
    availability.register_busy(heartbeat.name, heartbeat.serves, 60)
    remove_worker(control, heartbeat.name)


class Pair:
    """Two UNet workers; the second takes whatever the first asks of it."""

    def __init__(
        self, make_worker: MakeWorker, second_models: ModelCache[BaseModel], **changes: object
    ) -> None:
        self.ended: list[str] = []
        self._threads: list[threading.Thread] = []
        first = make_worker(**changes)
        self.second = dataclasses.replace(first, models=second_models, busy=BusyShare(), sessions={})
        self.first = dataclasses.replace(first, send_follow=self._take)

    def _take(self, message: FollowBranch, model: str) -> None:
        thread = threading.Thread(target=self._assist, args=[message])
        self._threads.append(thread)
        thread.start()

    def _assist(self, message: FollowBranch) -> None:
        self.ended.append(follow(self.second, message, "unet2@test"))

    def run(self, wanted: JobSpec, replays: Receipt | None = None) -> Job:
        job_id, _ = self.first.jobs.create(wanted, replays=replays)
        execute_job(self.first, job_id, "unet1@test")
        self.join()
        return self.first.jobs.get(job_id)

    def join(self) -> None:
        """Wait for every assistance to end."""
        for thread in self._threads:
            thread.join()

    def pixels(self, job: Job) -> NDArray[np.int16]:
        assert job.status == "succeeded", job.error
        return np.asarray(Image.open(io.BytesIO(self.first.images.get(job.images[0].key))), dtype=np.int16)


@pytest.fixture
def wait_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """No job goes on alone, or asks twice, because the machine was too busy for its assistant."""
    monkeypatch.setattr("workers.unet.cfg_parallel.leader.FIRST_WAIT_S", 30.0)
    monkeypatch.setattr("workers.unet.cfg_parallel.leader.LEAST_WAIT_S", 30.0)
    monkeypatch.setattr("workers.unet.cfg_parallel.leader.OFFER_EVERY_S", 600.0)


@pytest.fixture
def pair(
    make_worker: MakeWorker, second_models: ModelCache[BaseModel], other_is_idle: None, wait_budget: None
) -> Pair:
    return Pair(make_worker, second_models)


def alone(wanted: JobSpec) -> JobSpec:
    return wanted.model_copy(update={"latent_parallelism": "off"})


def again(wanted: JobSpec, job: Job) -> JobSpec:
    """The job's replay: LoRAs and halves at the steps of its receipt."""
    assert job.receipt is not None
    steps = {lora.name: lora.step for lora in job.receipt.loras}
    loading = LoraLoading(mode="replay", steps=steps)
    return wanted.model_copy(update={"lora_loading": loading, "split_steps": job.receipt.split_steps})


def test_a_split_job_differs_by_rounding_and_its_replay_by_nothing(pair: Pair) -> None:
    canny = {"preprocessor": "canny", "preprocessor_options": fill_in("canny", {})}
    wanted = spec(controlnets=[controlnet(pair.first, **canny)], num_inference_steps=STEPS)
    whole = pair.pixels(pair.run(alone(wanted)))
    job = pair.run(wanted)
    assert job.receipt is not None
    assert job.receipt.split_steps
    assert pair.ended == ["done"]
    assert np.abs(pair.pixels(job) - whole).max() <= 1
    replayed = pair.run(again(wanted, job))
    assert np.array_equal(pair.pixels(replayed), pair.pixels(job))
    # And the ControlNets have begun once, however the rows of a step were asked for
    for drawn in (job, replayed):
        assert [span.name for span in drawn.timeline].count("wait for the first of edge") == 1
    helped = [span for span in job.timeline if span.name == "half"]
    assert {span.worker for span in helped} == {"unet2@test"}
    assert len(helped) <= len(job.receipt.split_steps)


def test_the_receipt_names_what_the_assistant_computed_with_and_its_replay_is_the_same_file(
    pair: Pair,
) -> None:
    wanted = spec(num_inference_steps=STEPS)
    job = pair.run(wanted)
    assert job.receipt is not None
    with pair.second.models.use("emoji-sd") as model:
        assert job.receipt.assistant == worker_receipt(model)
    # When one worker draws both halves
    replayed = pair.run(again(wanted, job), job.receipt)
    # Then it says so in the same words
    assert replayed.receipt == job.receipt
    assert replayed.warnings == []
    assert replayed.images[0].sha256 == job.images[0].sha256


def test_an_assistant_that_computed_otherwise_than_the_worker_of_a_replay_is_told(pair: Pair) -> None:
    wanted = spec(num_inference_steps=STEPS)
    job = pair.run(wanted)
    assert job.receipt is not None
    assert job.receipt.assistant is not None
    threads = job.receipt.assistant.threads
    other = job.receipt.assistant.model_copy(update={"device": "cuda", "threads": threads + 1})
    replayed = pair.run(again(wanted, job), job.receipt.model_copy(update={"assistant": other}))
    assert [warning.split(":")[0] for warning in replayed.warnings] == [
        "the assistant's halves drawn with device cpu, the receipt with cuda",
        f"the assistant's halves drawn with threads {threads}, the receipt with {threads + 1}",
    ]


def test_a_worker_with_other_weights_of_the_model_does_not_assist(
    make_worker: MakeWorker, other_is_idle: None, wait_budget: None
) -> None:
    def load_other(name: str) -> BaseModel:
        pipe = load(name).pipe
        pipe.unet.conv_in.bias.data += 1e-3
        return BaseModel(name, pipe)

    pair = Pair(make_worker, ModelCache(load_other, DeviceMemory(1 << 40)))
    with pair.second.models.use("emoji-sd"):
        pass  # loaded before it is asked
    job = pair.run(spec(num_inference_steps=STEPS))
    assert job.receipt is not None
    assert (job.receipt.split_steps, job.receipt.assistant) == ([], None)
    assert pair.ended == ["done"]


@pytest.mark.parametrize("model", ["sdxl", "sdxl-inpaint"])
def test_every_family_is_split_with_all_that_its_halves_are_told(
    make_worker: MakeWorker, models: ModelCache[BaseModel], other_is_idle: None, wait_budget: None, model: str
) -> None:
    # Given a job of a model that is told sizes, or sees a mask, with a ControlNet and other sizes for
    # each half
    pair = Pair(make_worker, models)
    options: dict[str, Any] = {"latent_parallelism": "on", "num_inference_steps": 24}
    options |= {"negative_original_size": (32, 32), "negative_target_size": (64, 64)}
    if model.endswith("inpaint"):
        images = stored(pair.first, source_image()), stored(pair.first, mask_image())
        options |= dict(zip(("image", "mask_image"), images, strict=True)) | {"strength": 1.0}
    wanted = spec(model=model, controlnets=[controlnet(pair.first, f"{model}-net")], **options)
    whole = pair.pixels(pair.run(alone(wanted)))
    # When an assistant computes one half
    job = pair.run(wanted)
    assert "half" in {span.name for span in job.timeline}
    # Then it differs from the whole by rounding, and from its replay on one worker by nothing
    assert np.abs(pair.pixels(job) - whole).max() <= 1
    assert np.array_equal(pair.pixels(pair.run(again(wanted, job))), pair.pixels(job))


def test_both_workers_patch_a_lora_at_the_same_step(pair: Pair) -> None:
    lora = upload(pair.first, EMOJI / "loras" / "outline.safetensors")  # it trains the text encoder, too
    loading = LoraLoading(mode="bounded", max_async_steps=4)
    wanted = spec(loras=[lora], lora_loading=loading, num_inference_steps=STEPS)
    job = pair.run(wanted)
    assert job.receipt is not None
    # The assistant has predicted some with the LoRA
    assert [span.name for span in job.timeline].count("half") > job.receipt.loras[0].step
    assert np.array_equal(pair.pixels(pair.run(again(wanted, job))), pair.pixels(job))
    for worker in (pair.first, pair.second):  # a plain job takes out what is left
        plain_id, _ = worker.jobs.create(alone(spec(num_inference_steps=4)))
        execute_job(worker, plain_id, "unet1@test")
    with pair.second.models.use("emoji-sd") as theirs, pair.first.models.use("emoji-sd") as ours:
        for name, weight in ours.pipe.unet.state_dict().items():
            assert weight.equal(theirs.pipe.unet.state_dict()[name]), name


def test_what_an_assistance_has_patched_stays_as_after_any_job(pair: Pair) -> None:
    lora = upload(pair.first, EMOJI / "loras" / "twemoji.safetensors")
    job_id, _ = pair.first.jobs.create(spec(loras=[lora]))
    attempt = pair.first.jobs.claim(job_id, "unet1@test")
    assert attempt is not None
    line = branch_channel(pair.first, job_id, attempt.token)
    step = BranchStep(step=0, total=4, t=999.0, loras=[lora.name])
    before = [sum(counted(LORA_LOOKUPS, role=role).values()) for role in ("leader", "follower")]
    pair.first.send_follow(FollowBranch(job_id=job_id, attempt=attempt.token, ordinal=1, maps=[]), "emoji-sd")
    prediction = None
    while prediction is None:  # its LoRA is on its way
        line.ask(step, torch.zeros(1, 4, 8, 8))
        answer = line.receive(60)
        assert answer is not None
        prediction = answer[1]
    line.dismiss()
    pair.join()
    assert pair.ended == ["done"]
    after = [sum(counted(LORA_LOOKUPS, role=role).values()) for role in ("leader", "follower")]
    assert after == [before[0], before[1] + 1]  # no hit or miss of the job
    with pair.second.models.use("emoji-sd") as model:
        assert [scale for _, scale in model.patcher.patched] == [1.0]
        assert model.patched_with == {(lora.name, lora.etag)}


def test_an_assistant_that_waits_for_a_controlnet_leaves_when_its_attempt_is_over(
    make_worker: MakeWorker, second_models: ModelCache[BaseModel], control: Redis
) -> None:
    # Given an assistant whose ControlNet nobody serves
    pair = Pair(
        make_worker, second_models, serve_controlnets=False, residual_wait_s=20.0, controlnet_fallback="fail"
    )
    wanted = spec(controlnets=[controlnet(pair.first)])
    job_id, _ = pair.first.jobs.create(wanted)
    attempt = pair.first.jobs.claim(job_id, "unet1@test")
    assert attempt is not None
    line = branch_channel(pair.first, job_id, attempt.token)
    maps = [wanted.controlnets[0].image]
    pair.first.send_follow(
        FollowBranch(job_id=job_id, attempt=attempt.token, ordinal=1, maps=maps), "emoji-sd"
    )
    assert line.receive(60) is not None
    line.ask(BranchStep(step=0, total=4, t=999.0, loras=[]), torch.zeros(1, 4, 8, 8))
    while not pair.first.residual.llen(keys.controlnet_steps("edge")):
        pass  # it is on its way there
    # When the attempt loses its job
    control.delete(keys.lease(job_id))
    pair.join()
    # Then it does not wait for the ControlNet as long as a living job would
    assert pair.ended == ["its attempt is over"]


def test_an_exact_job_is_never_split(pair: Pair) -> None:
    job = pair.run(spec(lora_loading=LoraLoading(mode="exact"), num_inference_steps=STEPS))
    assert job.receipt is not None
    assert job.receipt.split_steps == []
    assert pair.ended == []


@pytest.mark.parametrize("choice", ["auto", "on"])
def test_while_jobs_wait_only_a_job_that_insists_is_split(pair: Pair, control: Redis, choice: str) -> None:
    control.rpush(unet_queue("emoji-sd"), "a message")
    try:
        job = pair.run(spec(latent_parallelism=choice, num_inference_steps=STEPS))
    finally:
        control.delete(unet_queue("emoji-sd"))
    assert job.receipt is not None
    assert bool(job.receipt.split_steps) == (choice == "on")


class CountedBusy(BusyShare):
    """Calls ``then`` as the device begins to work for the ``n``-th time."""

    def __init__(self, n: int, then: Callable[[], object]) -> None:
        super().__init__()
        self._left, self._then = n, then

    def __enter__(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._then()
        super().__enter__()


def test_an_assistant_leaves_when_a_job_waits_and_the_rest_is_drawn_whole(
    pair: Pair, control: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an assistant that looks after every step, and another job that comes during its third half
    monkeypatch.setattr("workers.unet.cfg_parallel.follower.SLICE_S", 0.0)
    queue, made_ready, halves = unet_queue("emoji-sd"), 1, 3
    busy = CountedBusy(made_ready + halves, lambda: control.rpush(queue, "a message"))
    pair.second = dataclasses.replace(pair.second, busy=busy)
    try:
        job = pair.run(spec(num_inference_steps=STEPS))
    finally:
        control.delete(queue)
    # Then it has answered three and left, and the step it was asked for meanwhile was the last to be split
    assert pair.ended == ["wanted elsewhere"]
    assert job.receipt is not None
    assert [span.worker for span in job.timeline if span.name == "half"] == ["unet2@test"] * halves
    assert len(job.receipt.split_steps) == halves + 1
    assert pair.pixels(job).any()


def test_a_worker_shows_whom_it_assists_and_that_it_is_busy(pair: Pair) -> None:
    job_id, _ = pair.first.jobs.create(spec())
    attempt = pair.first.jobs.claim(job_id, "unet1@test")
    assert attempt is not None
    assert (pair.second.sessions, pair.second.busy.share()) == ({}, 0.0)
    pair.first.send_follow(FollowBranch(job_id=job_id, attempt=attempt.token, ordinal=1, maps=[]), "emoji-sd")
    line = branch_channel(pair.first, job_id, attempt.token)
    assert line.receive(60) is not None
    # Once it is ready, it has worked, and is there for the job
    assert pair.second.sessions == {"emoji-sd": [job_id]}
    assert pair.second.busy.share() > 0
    line.dismiss()
    pair.join()
    assert pair.second.sessions == {}


def test_an_assistant_leaves_for_a_job_of_any_model_that_it_serves(pair: Pair, control: Redis) -> None:
    other = next(model for model in pair.second.serves if model != "emoji-sd")
    job_id, _ = pair.first.jobs.create(spec())
    attempt = pair.first.jobs.claim(job_id, "unet1@test")
    assert attempt is not None
    pair.first.send_follow(FollowBranch(job_id=job_id, attempt=attempt.token, ordinal=1, maps=[]), "emoji-sd")
    assert branch_channel(pair.first, job_id, attempt.token).receive(60) is not None
    try:
        control.rpush(unet_queue(other), "a message")
        pair.join()
    finally:
        control.delete(unet_queue(other))
    assert pair.ended == ["wanted elsewhere"]


@pytest.mark.parametrize("dies_after", [0, 3])
def test_the_half_of_an_assistant_that_dies_is_computed_here(
    make_worker: MakeWorker, other_is_idle: None, dies_after: int
) -> None:
    served: list[int] = []

    def come_and_die(message: FollowBranch, model: str) -> None:
        line = branch_channel(first, message.job_id, message.attempt)
        if line.claim("unet2@test"):
            threading.Thread(target=half_a_life, args=[line], daemon=True).start()

    def half_a_life(line: BranchChannel) -> None:
        second = dataclasses.replace(first, models=ModelCache(load, DeviceMemory(1 << 40)))
        with second.models.use("emoji-sd") as model:
            line.answer(BranchPrediction(step=READY, worker="unet2@test", model_sha256=model.sha256))
            for _ in range(dies_after + 1):
                taken = line.next_step(30)
                assert taken is not None
                served.append(taken[0].step)
                if len(served) <= dies_after:
                    line.answer(BranchPrediction(step=taken[0].step, worker="unet2@test", missing=True))

    first = dataclasses.replace(make_worker(), send_follow=come_and_die)
    wanted = spec(num_inference_steps=30)
    job_id, _ = first.jobs.create(wanted)
    execute_job(first, job_id, "unet1@test")
    job = first.jobs.get(job_id)
    assert job.status == "succeeded", job.error
    assert job.receipt is not None
    assert job.receipt.split_steps == served
    assert job.receipt.assistant is None  # it has predicted nothing
    assert len(served) == dies_after + 1
    replayed_id, _ = first.jobs.create(again(wanted, job))
    execute_job(first, replayed_id, "unet1@test")
    assert np.array_equal(pixels(first, first.jobs.get(replayed_id)), pixels(first, job))


def test_an_assistance_that_hangs_ends_its_worker_and_not_the_job(
    make_worker: MakeWorker,
    second_models: ModelCache[BaseModel],
    other_is_idle: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given an assistant whose device does not come back from its first step
    released, whys = threading.Event(), queue.Queue[str]()
    pair = Pair(make_worker, second_models)
    settings = pair.second.settings.model_copy(update={"job_timeout_s": 1})
    watchdog = Watchdog(0.0, end=whys.put)
    pair.second = dataclasses.replace(pair.second, settings=settings, watchdog=watchdog)
    predict = UncondBranch.predict

    def hang(half: UncondBranch, step: BranchStep, x: torch.Tensor) -> Any:
        released.wait()
        return predict(half, step, x)

    monkeypatch.setattr(UncondBranch, "predict", hang)
    monkeypatch.setattr("workers.unet.cfg_parallel.leader.FIRST_WAIT_S", 30.0)
    # When a job is generated with it
    job_id, _ = pair.first.jobs.create(spec(num_inference_steps=STEPS))
    execute_job(pair.first, job_id, "unet1@test")
    # Then the job goes on alone, and the other process would end
    assert pair.first.jobs.get(job_id).status == "succeeded"
    watchdog.start()
    assert f"assistance of job {job_id} did not come back" in whys.get(timeout=30)
    released.set()
    pair.join()
    watchdog.stop()


#: Its transformer attends across the rows of a batch.
UNION = ControlNetSpec(
    name="union", image="", conditioning_scale=1, guidance_start=0, guidance_end=1, control_mode=0
)


class Killed(BaseException):
    """As a process ends that is killed: nothing of ours catches it."""


def test_a_worker_that_is_killed_while_it_makes_ready_keeps_no_other_from_assisting(pair: Pair) -> None:
    # Given an attempt whose first request is taken by a worker that dies while it loads the model
    def die(name: str) -> BaseModel:
        raise Killed

    job_id, _ = pair.first.jobs.create(spec())
    attempt = pair.first.jobs.claim(job_id, "unet1@test")
    assert attempt is not None
    request = FollowBranch(job_id=job_id, attempt=attempt.token, ordinal=1, maps=[])
    dying = dataclasses.replace(pair.first, models=ModelCache(die, DeviceMemory(1 << 40)))
    with pytest.raises(Killed):
        follow(dying, request, "unet3@test")
    # When another worker takes the next request
    line = branch_channel(pair.first, job_id, attempt.token)
    line.dismiss()
    assert follow(pair.second, request, "unet2@test") == "done"
    # Then it was ready, and a third one had nothing to claim any more
    ready = line.receive(0)
    assert ready is not None
    assert ready[0].worker == "unet2@test"
    assert follow(pair.second, request, "unet4@test") == "another was faster"
    assert line.receive(0) is None


def test_of_many_that_are_asked_one_assists(pair: Pair) -> None:
    line = branch_channel(pair.first, "job", "attempt")
    assert [line.claim(name) for name in ("unet2", "unet3", "unet4")] == [True, False, False]


@pytest.mark.parametrize(
    ("changes", "waiting", "others", "split"),
    [
        ({}, 0, 1, True),
        ({}, 0, 0, False),
        ({}, 1, 1, False),
        ({"latent_parallelism": "on"}, 1, 1, True),
        ({"latent_parallelism": "off"}, 0, 1, False),
        ({"guidance_scale": 1.0}, 0, 1, False),
        ({"lora_loading": LoraLoading(mode="exact")}, 0, 1, False),
        ({"lora_loading": LoraLoading(mode="replay", steps={})}, 0, 1, False),
        ({"guess_mode": True}, 0, 1, False),
        ({"controlnets": [UNION], "latent_parallelism": "on"}, 0, 1, False),
    ],
    ids=str,
)
def test_the_policy(changes: dict[str, Any], waiting: int, others: int, split: bool) -> None:
    assert should_split(spec(**changes), waiting=waiting, others=others) == split
