"""Whole jobs that another attempt continues: their bits are those of a job that nothing interrupted."""

import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
import torch
from PIL import ImageChops
from redis import Redis
from torch import Tensor

from shared.errors import JobPreempted, WorkerStopping
from shared.jobs.options import LoraLoading
from shared.jobs.spec import JobSpec, LoraRef
from shared.keys import LOCAL
from tests.diffusers_peer import mask_image, source_image
from tests.tiny_models import make_lora
from tests.workers.unet.checkpoints.stores import RecordingStore
from tests.workers.unet.jobs import control, store_image, upload
from tests.workers.unet.specs import spec
from workers.devices.base import DeviceCopy
from workers.families.base import BaseModel
from workers.transport.keys import checkpoint_key
from workers.transport.protocol import StepRequest, StepResponse
from workers.transport.transport import ResidualTransport
from workers.unet.attempt_context import AttemptContext
from workers.unet.checkpoints.checkpoint import Checkpoint
from workers.unet.generation import Generation, GenerationResult
from workers.unet.lease import Lease
from workers.unet.timeline import Timeline
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]
STEPS = 5
IDS = itertools.count()


class Killed(Exception):
    """The worker's process ends."""


class NoLease:
    """Stands for a `Lease` that nobody asks for."""

    is_preempted = False

    def report_progress(self, step: int, total: int, preview: Callable[[], str]) -> None:
        pass


class Preempting(NoLease):
    """Of an attempt whose device an interactive job needs from its beginning."""

    is_preempted = True

    def keep_device(self) -> None:
        self.is_preempted = False


class Generated(NamedTuple):
    """What an attempt generated, and the latents that its VAE was given."""

    result: GenerationResult
    latents: Tensor
    steps: list[int]  # before which a checkpoint was stored


def generate(
    worker: UNetWorker,
    wanted: JobSpec,
    job_id: str,
    *,
    ordinal: int = 1,
    kill_before: int | None = None,
    lease: NoLease | None = None,
    store: RecordingStore | None = None,
) -> Generated:
    """One attempt, on weights as they are in a new process; it may be killed before a step."""
    store = store or RecordingStore(worker)

    def check() -> None:  # called before each step, and while one waits
        store.settle()
        if kill_before is not None and kill_before in store.steps:
            raise Killed

    with worker.models.use(wanted.model) as model:
        model.patcher.restore()
        model.patched_with = set()
        model.latents.prepare_preview()  # once a model, it decodes too
        context = AttemptContext(
            worker=dataclasses.replace(worker, checkpoints=store),
            model=model,
            spec=wanted,
            job_id=job_id,
            attempt=f"attempt{ordinal}",
            ordinal=ordinal,
            role="leader",
            timeline=Timeline("unet1@test"),
            check=check,
            tenant=LOCAL,
        )
        with heard(model) as latents:
            result = Generation(context, cast("Lease", lease or NoLease())).run()
    return Generated(result, latents[0], store.steps)


@contextmanager
def heard(model: BaseModel) -> Iterator[list[Tensor]]:
    """Collects what the VAE's first layer is given."""
    found: list[Tensor] = []
    layer = cast("Any", model).pipe.vae.post_quant_conv
    hook = layer.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].detach().clone()))
    try:
        yield found
    finally:
        hook.remove()


def job_of(worker: UNetWorker, kind: str, folder: Path) -> JobSpec:
    changes: dict[str, Any] = {"model": "sd1", "num_inference_steps": STEPS, "num_images": 2}
    if kind in ("image", "mask", "mask-9-channels"):
        changes |= {"image": store_image(worker, source_image()), "strength": 0.9}
    if kind.startswith("mask"):
        changes |= {"mask_image": store_image(worker, mask_image())}
    if kind == "mask-9-channels":
        changes |= {"model": "sd1-inpaint"}
    if kind == "sdxl":
        changes |= {"model": "sdxl", "scheduler": "unipc"}
    if kind == "weights":
        changes |= {"model": "emoji-sd", "prompt": "a (cat:1.4) BREAK [sun]", "prompt_syntax": "a1111"}
    if kind == "eta":
        changes |= {"eta": 0.7, "num_images": 3}
    if kind == "stochastic":
        changes |= {"scheduler": "dpmpp_2m_sde"}
    if kind == "loras":
        with worker.models.use("sd1") as model:
            loras = [upload_lora(worker, model, folder, seed) for seed in (1, 2)]
        steps = {lora.name: step for lora, step in zip(loras, (1, 3), strict=True)}
        changes |= {"loras": loras, "lora_loading": LoraLoading(mode="replay", steps=steps)}
    if kind in ("controlnets", "split"):
        ends = (0.5, 1.0)
        changes["controlnets"] = [control(worker, "sd1-net", guidance_end=end) for end in ends]
    if kind == "split":
        changes["split_steps"] = [1, 2]
    return spec(**changes)


def upload_lora(worker: UNetWorker, model: BaseModel, folder: Path, seed: int) -> LoraRef:
    path = folder / f"lora{seed}.safetensors"
    make_lora(cast("Any", model).pipe, path, seed)
    return upload(worker, path)


KINDS = (
    "text",
    "image",
    "mask",
    "mask-9-channels",
    "sdxl",
    "weights",
    "eta",
    "stochastic",
    "loras",
    "controlnets",
    "split",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_is_continued_twice_equals_an_undisturbed_one(
    make_worker: MakeWorker, tmp_path: Path, kind: str
) -> None:
    worker = make_worker()
    wanted = job_of(worker, kind, tmp_path)
    undisturbed = generate(worker, wanted, f"job{next(IDS)}")
    last = undisturbed.steps[-1]
    # Given two attempts that are killed, one early and one late
    job_id = f"job{next(IDS)}"
    for ordinal, step in enumerate((1, last), 1):
        with pytest.raises(Killed):
            generate(worker, wanted, job_id, ordinal=ordinal, kill_before=step)
    # When a third one goes on
    continued = generate(worker, wanted, job_id, ordinal=3)
    # Then only the rest is computed, with the same bits
    assert continued.steps == []
    assert torch.equal(continued.latents, undisturbed.latents)
    pairs = zip(continued.result.images, undisturbed.result.images, strict=True)
    assert not any(ImageChops.difference(*pair).getbbox() for pair in pairs)
    # And the receipt says where, and is else the same
    receipt = continued.result.receipt
    assert receipt.continued_at == [1, last]
    plain = receipt.model_copy(update={"continued_at": []}).sealed()
    assert plain == undisturbed.result.receipt


def test_a_job_that_is_preempted_in_every_attempt_does_a_step_in_each(
    make_worker: MakeWorker, tmp_path: Path
) -> None:
    worker = make_worker()
    wanted, job_id = job_of(worker, "text", tmp_path), f"job{next(IDS)}"
    undisturbed = generate(worker, wanted, f"job{next(IDS)}")
    for ordinal in range(1, STEPS):
        with pytest.raises(JobPreempted):
            generate(worker, wanted, job_id, ordinal=ordinal, lease=Preempting())
    # The last step ends the loop: nothing is before which it could stop
    done = generate(worker, wanted, job_id, ordinal=STEPS, lease=Preempting())
    assert done.result.receipt.continued_at == [1, 2, 3, 4]
    assert torch.equal(done.latents, undisturbed.latents)


class Refusing(RecordingStore):
    """A server that takes no checkpoint."""

    def put(self, job_id: str, ordinal: int, frame: bytes) -> bool:
        return False

    def settle(self) -> None:
        pass


@pytest.mark.parametrize("why", ["too large", "refused"])
def test_a_job_whose_state_is_not_stored_is_not_preempted(
    make_worker: MakeWorker, tmp_path: Path, why: str
) -> None:
    worker = make_worker(**({"checkpoint_bytes": 1000} if why == "too large" else {}))
    lease, store = Preempting(), Refusing(worker) if why == "refused" else None
    wanted, job_id = job_of(worker, "text", tmp_path), f"job{next(IDS)}"
    assert generate(worker, wanted, job_id, lease=lease, store=store).steps == []
    assert not lease.is_preempted


class StoppedInStep(ResidualTransport):
    """Its worker is told to stop during a step, once that has received a residual."""

    def __init__(self, worker: UNetWorker, step: int) -> None:
        super().__init__([worker.residual], worker.settings)
        self._worker, self._step = worker, step
        self._has_received = False

    def receive(
        self, request: StepRequest, timeout_s: float, *options: Any, **more: Any
    ) -> list[tuple[StepResponse, DeviceCopy | None]]:
        if self._has_received:
            self._worker.stopping.set()
            return []
        received = super().receive(request, timeout_s, *options, **more)
        self._has_received = request.step == self._step and bool(received)
        return received


def test_a_checkpoint_says_nothing_of_a_step_that_was_not_finished(
    make_worker: MakeWorker, residual: Redis, tmp_path: Path
) -> None:
    # Given a job of split steps, and a ControlNet that takes part from step 2 on
    worker = make_worker()
    controlnets = [control(worker, "sd1-net", guidance_start=start) for start in (0.0, 0.4)]
    wanted = job_of(worker, "split", tmp_path).model_copy(update={"controlnets": controlnets})
    undisturbed = generate(worker, wanted, f"job{next(IDS)}")
    # When its worker is told to stop in that step
    job_id, stopped = f"job{next(IDS)}", dataclasses.replace(worker, stopping=threading.Event())
    with pytest.raises(WorkerStopping):
        generate(dataclasses.replace(stopped, transport=StoppedInStep(stopped, 2)), wanted, job_id)
    # Then the checkpoint says what the steps before have used
    checkpoint = Checkpoint(cast("bytes", residual.hget(checkpoint_key(job_id), "frame")))
    assert checkpoint.header.step == 2
    so_far = checkpoint.header.so_far
    assert so_far.split_steps == [1]
    assert [bool(one.sha256) for one in so_far.controlnets] == [True, False]
    # And another worker's receipt is that of a job that nobody disturbed
    receipt = generate(worker, wanted, job_id, ordinal=2).result.receipt
    assert receipt.continued_at == [2]
    assert receipt.model_copy(update={"continued_at": []}).sealed() == undisturbed.result.receipt


def test_another_kind_of_worker_begins_anew(make_worker: MakeWorker, residual: Redis, tmp_path: Path) -> None:
    worker = make_worker()
    wanted, job_id = job_of(worker, "text", tmp_path), f"job{next(IDS)}"
    with pytest.raises(Killed):
        generate(worker, wanted, job_id, kill_before=2)
    # Given the same job of another seed: its request differs
    other = generate(worker, wanted.model_copy(update={"seed": 8}), job_id, ordinal=2)
    assert other.result.receipt.continued_at == []
    assert other.steps == [1, 2, 3, 4]


@pytest.mark.parametrize("damage", ["garbage", "tensors"])
def test_a_malformed_checkpoint_is_ignored(
    make_worker: MakeWorker, residual: Redis, tmp_path: Path, damage: str
) -> None:
    worker = make_worker()
    wanted, job_id = job_of(worker, "text", tmp_path), f"job{next(IDS)}"
    with pytest.raises(Killed):
        generate(worker, wanted, job_id, kill_before=2)
    frame = cast("bytes", residual.hget(checkpoint_key(job_id), "frame"))
    residual.hset(checkpoint_key(job_id), "frame", b"garbage" if damage == "garbage" else frame[:-1])
    anew = generate(worker, wanted, job_id, ordinal=2)
    assert anew.result.receipt.continued_at == []
    assert anew.steps == [1, 2, 3, 4]


def test_an_attempt_that_lost_the_job_stores_nothing(make_worker: MakeWorker) -> None:
    store = make_worker().checkpoints
    job_id = f"job{next(IDS)}"
    assert store.put(job_id, 1, b"old")
    assert store.take(job_id, 2) == b"old"
    assert not store.put(job_id, 1, b"late")
    assert store.put(job_id, 2, b"new")
    assert store.take(job_id, 1) is None
    assert store.take(job_id, 2) == b"new"


def test_the_checkpoint_of_a_job_that_ended_is_gone_for_good(make_worker: MakeWorker) -> None:
    store = make_worker().checkpoints
    job_id = f"job{next(IDS)}"
    store.expect(job_id)
    store.put(job_id, 1, b"frame")
    store.end(job_id, 1)
    assert store.take(job_id, 2) is None
    assert not store.put(job_id, 1, b"late")


def test_what_a_worker_has_handed_over_is_not_its_own_to_delete(make_worker: MakeWorker) -> None:
    store = make_worker().checkpoints
    job_id = f"job{next(IDS)}"
    store.expect(job_id)
    store.put(job_id, 1, b"frame")
    store.forget(job_id)
    store.end(job_id, 1)
    assert store.take(job_id, 2) == b"frame"


def test_another_processor_begins_anew(make_worker: MakeWorker, tmp_path: Path) -> None:
    worker = make_worker()
    wanted, job_id = job_of(worker, "text", tmp_path), f"job{next(IDS)}"
    with pytest.raises(Killed):
        generate(worker, wanted, job_id, kill_before=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
        anew = generate(worker, wanted, job_id, ordinal=2)
    assert anew.result.receipt.continued_at == []


def test_a_job_whose_state_is_too_large_runs_without_checkpoints(
    make_worker: MakeWorker, tmp_path: Path
) -> None:
    worker = make_worker(checkpoint_bytes=1000)
    job_id = f"job{next(IDS)}"
    assert generate(worker, job_of(worker, "text", tmp_path), job_id).steps == []
