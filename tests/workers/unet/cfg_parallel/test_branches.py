"""Images of jobs whose CFG branches run on two workers, against whole batches, through real Redis."""

import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from redis import Redis
from torch import Generator, Tensor

from shared.catalog.preprocessors import fill_in
from shared.families.base import Config
from shared.jobs.options import LoraLoading
from shared.jobs.record import Job
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL
from shared.messaging.celery_app import unet_queue
from tests.diffusers_peer import mask_image, source_image
from tests.fake_device import FakeDevice
from tests.tiny_models import EMOJI
from tests.workers.conftest import load
from tests.workers.unet.cfg_parallel.conftest import MakePair, MakeWorker, Pair
from tests.workers.unet.jobs import control as controlnet
from tests.workers.unet.jobs import pixels, run, upload
from tests.workers.unet.latents.test_initial_latents import stored
from tests.workers.unet.specs import spec
from workers.families.base import BaseModel
from workers.families.base_controlnet import ControlNet
from workers.families.load_controlnet import load_controlnet
from workers.families.unet.controlnet import UNetControlNet
from workers.families.unet.loading import unet_model
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.transport.transport import ResidualTransport
from workers.unet.cfg_parallel.channel import BranchChannel, branch_channel
from workers.unet.cfg_parallel.messages import READY, BranchPrediction, FollowBranch
from workers.unet.cfg_parallel.timings import CFGTimings
from workers.unet.job import execute_job
from workers.unet.output.receipt import worker_receipt

STEPS = 8
#: No follower is late because the machine is busy; one that has died costs `min_wait_s`.
WAITS_FOR_FOLLOWER = CFGTimings(first_wait_s=30.0, min_wait_s=5.0, offer_every_s=600.0)


def load_edge(name: str) -> ControlNet:
    return load_controlnet(name, str(EMOJI / "controlnets" / name), "float32", "cpu")


def load_changed(name: str) -> ControlNet:
    """Other weights under that name."""
    model: Any = load_edge(name).model
    model.conv_in.bias.data += 1.0
    return UNetControlNet(name, model)


def unsplit(wanted: JobSpec) -> JobSpec:
    return wanted.model_copy(update={"latent_parallelism": "off"})


def replay_of(wanted: JobSpec, job: Job) -> JobSpec:
    """The job's replay: LoRAs patched and steps split as its receipt says."""
    assert job.receipt is not None
    steps = {lora.name: lora.step for lora in job.receipt.loras}
    loading = LoraLoading(mode="replay", steps=steps)
    return wanted.model_copy(update={"lora_loading": loading, "split_steps": job.receipt.spec.split_steps})


def test_a_split_job_differs_by_rounding_and_its_replay_by_nothing(pair: Pair) -> None:
    canny = {"preprocessor": "canny", "preprocessor_options": fill_in("canny", {})}
    wanted = spec(controlnets=[controlnet(pair.first, **canny)], num_inference_steps=STEPS)
    whole = pair.pixels(pair.run(unsplit(wanted)))
    job = pair.run(wanted)
    assert job.receipt is not None
    assert job.receipt.spec.split_steps
    assert pair.ended == ["released"]
    assert np.abs(pair.pixels(job) - whole).max() <= 1
    replayed = pair.run(replay_of(wanted, job))
    assert np.array_equal(pair.pixels(replayed), pair.pixels(job))
    # And the ControlNets were attached once, however the rows of a step were requested
    for generated in (job, replayed):
        assert [span.name for span in generated.timeline].count("wait for the first of edge") == 1
    followed = [span for span in job.timeline if span.name == "uncond branch"]
    assert {span.worker for span in followed} == {"unet2@test"}
    assert len(followed) <= len(job.receipt.spec.split_steps)


def test_a_follower_weighs_the_negative_prompt_as_the_leader_does(pair: Pair) -> None:
    texts = {"prompt": "a (penguin:1.4) BREAK [teal]", "negative_prompt": "(blue:0.3) background"}
    wanted = spec(**texts, prompt_syntax="a1111", num_inference_steps=STEPS)
    whole = pair.pixels(pair.run(unsplit(wanted)))
    assert np.abs(pair.pixels(pair.run(unsplit(spec(**texts, num_inference_steps=STEPS)))) - whole).max() > 1
    job = pair.run(wanted)
    assert job.receipt is not None
    assert job.receipt.spec.split_steps
    assert np.abs(pair.pixels(job) - whole).max() <= 1
    assert np.array_equal(pair.pixels(pair.run(replay_of(wanted, job))), pair.pixels(job))


def test_leader_and_follower_compute_the_controlnets_that_they_hold(
    make_pair: MakePair, second_models: ModelCache[BaseModel], unet2_is_idle: None
) -> None:
    # Given two workers that hold the ControlNet, and nobody who serves it
    pair = make_pair(second_models, serve_controlnets=False)
    own = ModelCache(load_edge, DeviceMemory(1 << 40))  # one forward at a time runs through its modules
    pair.second = dataclasses.replace(pair.second, controlnets=own)
    for worker in (pair.first, pair.second):
        with worker.controlnets.use("edge"):
            pass
    wanted = spec(controlnets=[controlnet(pair.first)], num_inference_steps=STEPS)
    job = pair.run(wanted)
    # Then each computes what its branch asks for, and the image is that of any other split
    assert job.receipt is not None
    assert job.receipt.spec.split_steps
    served = make_pair(second_models)
    again = served.run(replay_of(wanted, job))
    assert np.array_equal(pair.pixels(job), served.pixels(again))
    assert {span.worker for span in job.timeline if span.name == "controlnet edge"} == {"unet1@test"}
    assert {span.worker for span in job.timeline if span.name == "uncond branch"} == {"unet2@test"}


def test_a_follower_with_other_weights_of_a_controlnet_computes_no_branch_of_the_image(
    make_pair: MakePair, second_models: ModelCache[BaseModel], unet2_is_idle: None
) -> None:
    # Given two workers that compute their ControlNets themselves, the second with weights of its own
    pair = make_pair(second_models, serve_controlnets=False)
    pair.second = dataclasses.replace(
        pair.second, controlnets=ModelCache(load_changed, DeviceMemory(1 << 40))
    )
    with pair.second.controlnets.use("edge"), pair.first.controlnets.use("edge") as held:
        sha256 = held.sha256
    wanted = spec(controlnets=[controlnet(pair.first)], num_inference_steps=STEPS)
    job = pair.run(wanted)
    # Then it followed, was released, and the image is the first worker's alone
    assert job.receipt is not None
    assert (len(job.receipt.spec.split_steps), pair.ended) == (1, ["released"])
    assert "uncond branch" not in {span.name for span in job.timeline}
    assert job.receipt.cfg_follower is None
    assert [one.sha256 for one in job.receipt.controlnets] == [sha256]
    again = pair.run(replay_of(wanted, job), job.receipt)
    assert again.images[0].sha256 == job.images[0].sha256


def test_branches_on_asynchronous_devices_have_the_same_bits(pair: Pair) -> None:
    wanted, plain = spec(controlnets=[controlnet(pair.first)], num_inference_steps=STEPS), pair.first
    # Given two devices on which copies to the host hold NaN until somebody waits for them
    for name in ("first", "second"):
        worker, device = getattr(pair, name), FakeDevice()
        transport = ResidualTransport([worker.residual], worker.settings, device=device)
        setattr(pair, name, dataclasses.replace(worker, device=device, transport=transport))
    # When each computes a branch of a job
    job = pair.run(wanted)
    assert "unet2@test" in {span.worker for span in job.timeline if span.name == "uncond branch"}
    # Then its replay on a device that is not asynchronous has the same bits
    replayed = run(plain, replay_of(wanted, job))
    assert np.array_equal(pixels(plain, replayed), pair.pixels(job))


def test_control_inputs_are_computed_once_and_in_the_jobs_own_thread(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a model that may sample control inputs from the generators of the noise
    threads = []

    def control_inputs(
        spec: JobSpec, pixels: Sequence[Tensor], configs: Sequence[Config], generators: Sequence[Generator]
    ) -> list[Tensor]:
        threads.append(threading.current_thread())
        return list(pixels)

    with pair.first.models.use("emoji-sd") as model:
        monkeypatch.setattr(model, "control_inputs", control_inputs)
    # When a job offers its unconditional branch, with the control maps, from another thread
    job = pair.run(spec(controlnets=[controlnet(pair.first)], num_inference_steps=STEPS))
    assert job.receipt is not None
    assert job.receipt.spec.split_steps
    assert threads == [threading.current_thread()]


def test_the_receipt_names_the_follower_and_its_replay_is_the_same_file(pair: Pair) -> None:
    wanted = spec(num_inference_steps=STEPS)
    job = pair.run(wanted)
    assert job.receipt is not None
    with pair.second.models.use("emoji-sd") as model:
        assert job.receipt.cfg_follower == worker_receipt(model)
    # When one worker computes both branches
    replayed = pair.run(replay_of(wanted, job), job.receipt)
    # Then its receipt and its file are the same
    assert replayed.receipt == job.receipt
    assert replayed.warnings == []
    assert replayed.images[0].sha256 == job.images[0].sha256


def test_a_replay_warns_of_a_follower_that_computed_with_something_else(pair: Pair) -> None:
    wanted = spec(num_inference_steps=STEPS)
    job = pair.run(wanted)
    assert job.receipt is not None
    assert job.receipt.cfg_follower is not None
    threads = job.receipt.cfg_follower.threads
    other = job.receipt.cfg_follower.model_copy(update={"device": "cuda", "threads": threads + 1})
    replayed = pair.run(replay_of(wanted, job), job.receipt.model_copy(update={"cfg_follower": other}))
    assert [warning.split(":")[0] for warning in replayed.warnings] == [
        "the follower's branches computed with device cpu, the receipt with cuda",
        f"the follower's branches computed with threads {threads}, the receipt with {threads + 1}",
    ]


def test_a_worker_with_other_weights_of_the_model_does_not_follow(
    make_pair: MakePair, unet2_is_idle: None
) -> None:
    def load_other(name: str) -> BaseModel:
        pipe = load(name).pipe
        pipe.unet.conv_in.bias.data += 1e-3
        return unet_model(name, pipe)

    pair = make_pair(ModelCache(load_other, DeviceMemory(1 << 40)))
    with pair.second.models.use("emoji-sd"):
        pass  # loaded before the offer
    job = pair.run(spec(num_inference_steps=STEPS))
    assert job.receipt is not None
    assert (job.receipt.spec.split_steps, job.receipt.cfg_follower) == ([], None)
    assert pair.ended == ["released"]


@pytest.mark.parametrize("model", ["sdxl", "sdxl-inpaint"])
def test_each_branch_gets_its_own_sizes_and_the_mask(
    pair: Pair, second_models: ModelCache[BaseModel], model: str
) -> None:
    # Given a model that takes sizes, or a mask, a ControlNet, and other sizes for each branch
    with second_models.use(model):
        pass  # loaded in this thread: its random weights come from torch's own generator
    options: dict[str, Any] = {"latent_parallelism": "on", "num_inference_steps": STEPS}
    options |= {"negative_original_size": (32, 32), "negative_target_size": (64, 64)}
    if model.endswith("inpaint"):
        images = stored(pair.first, source_image()), stored(pair.first, mask_image())
        options |= dict(zip(("image", "mask_image"), images, strict=True)) | {"strength": 1.0}
    wanted = spec(model=model, controlnets=[controlnet(pair.first, f"{model}-net")], **options)
    whole = pair.pixels(pair.run(unsplit(wanted)))
    # When a follower computes one branch
    job = pair.run(wanted)
    assert "uncond branch" in {span.name for span in job.timeline}
    # Then the image differs from the whole batch by rounding, and from its replay on one worker by nothing
    assert np.abs(pair.pixels(job) - whole).max() <= 1
    assert np.array_equal(pair.pixels(pair.run(replay_of(wanted, job))), pair.pixels(job))


def test_both_workers_patch_a_lora_at_the_same_step(pair: Pair) -> None:
    lora = upload(pair.first, EMOJI / "loras" / "outline.safetensors")  # it trains the text encoder, too
    loading = LoraLoading(mode="bounded", max_async_steps=4)
    wanted = spec(loras=[lora], lora_loading=loading, num_inference_steps=STEPS)
    job = pair.run(wanted)
    assert job.receipt is not None
    # The follower has predicted some steps with the LoRA
    assert [span.name for span in job.timeline].count("uncond branch") > job.receipt.loras[0].step
    assert np.array_equal(pair.pixels(pair.run(replay_of(wanted, job))), pair.pixels(job))
    for worker in (pair.first, pair.second):  # a plain job takes out what is left
        plain_id, _ = worker.jobs.create(unsplit(spec(num_inference_steps=4)), tenant=LOCAL)
        execute_job(worker, plain_id, "unet1@test")
    with pair.second.models.use("emoji-sd") as theirs, pair.first.models.use("emoji-sd") as ours:
        for name, weight in ours.pipe.unet.state_dict().items():
            assert weight.equal(theirs.pipe.unet.state_dict()[name]), name


def test_an_exact_job_is_never_split(pair: Pair) -> None:
    job = pair.run(spec(lora_loading=LoraLoading(mode="exact"), num_inference_steps=STEPS))
    assert job.receipt is not None
    assert job.receipt.spec.split_steps == []
    assert pair.ended == []


@pytest.mark.parametrize("choice", ["auto", "on"])
def test_while_jobs_wait_only_a_job_that_says_on_is_split(pair: Pair, control: Redis, choice: str) -> None:
    control.rpush(unet_queue("emoji-sd"), "a message")
    try:
        job = pair.run(spec(latent_parallelism=choice, num_inference_steps=STEPS))
    finally:
        control.delete(unet_queue("emoji-sd"))
    assert job.receipt is not None
    assert bool(job.receipt.spec.split_steps) == (choice == "on")


@pytest.mark.parametrize("dies_after", [0, 3])
def test_the_branch_of_a_follower_that_dies_is_computed_here(
    make_worker: MakeWorker, unet2_is_idle: None, dies_after: int
) -> None:
    served: list[int] = []

    def follow_and_die(message: FollowBranch, model: str, expires_s: float) -> None:
        channel = branch_channel(first, message)
        if channel.claim("unet2@test"):
            threading.Thread(target=answer_some_steps, args=[channel], daemon=True).start()

    def answer_some_steps(channel: BranchChannel) -> None:
        second = dataclasses.replace(first, models=ModelCache(load, DeviceMemory(1 << 40)))
        with second.models.use("emoji-sd") as model:
            channel.respond(BranchPrediction(step=READY, worker="unet2@test", model_sha256=model.sha256))
            for _ in range(dies_after + 1):
                taken = channel.next_step(30)
                assert taken is not None
                served.append(taken[0].step)
                if len(served) <= dies_after:
                    step = taken[0].step
                    channel.respond(BranchPrediction(step=step, worker="unet2@test", is_missing_lora=True))

    first = dataclasses.replace(make_worker(), send_follow=follow_and_die, cfg_timings=WAITS_FOR_FOLLOWER)
    wanted = spec(num_inference_steps=STEPS)
    job_id, _ = first.jobs.create(wanted, tenant=LOCAL)
    execute_job(first, job_id, "unet1@test")
    job = first.jobs.get(job_id)
    assert job.status == "succeeded", job.error
    assert job.receipt is not None
    assert job.receipt.spec.split_steps == served
    assert job.receipt.cfg_follower is None  # it has predicted nothing
    assert len(served) == dies_after + 1
    replayed_id, _ = first.jobs.create(replay_of(wanted, job), tenant=LOCAL)
    execute_job(first, replayed_id, "unet1@test")
    assert np.array_equal(pixels(first, first.jobs.get(replayed_id)), pixels(first, job))
