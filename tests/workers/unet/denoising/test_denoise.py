"""The loop waits for nothing that the device computes: only for what the Device object copies to the host."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from shared.catalog.schedulers import DIFFUSION_SCHEDULERS
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL
from tests.diffusers_peer import mask_image, source_image
from tests.fake_device import FakeDevice
from tests.meta_device import META, MetaDevice, NoWaits
from tests.scheduler_config import SD_SCHEDULER
from tests.workers.conftest import load
from tests.workers.unet.checkpoints.stores import RecordingStore
from tests.workers.unet.jobs import control, store_image
from tests.workers.unet.specs import spec
from workers.devices.base import Device
from workers.devices.selection import find_device
from workers.devices.streamless import StreamlessDevice
from workers.families.base import BaseModel
from workers.families.guidance import ClassifierFreeGuidance
from workers.transport.transport import ResidualTransport
from workers.unet.attempt_context import AttemptContext
from workers.unet.denoising.denoise import InitialLatents, denoise
from workers.unet.generation import Generation, GenerationResult
from workers.unet.latents.inpaint import MaskBlending
from workers.unet.lease import Lease
from workers.unet.timeline import Timeline
from workers.unet.timesteps.schedule import Schedule, TimestepSpec, make_schedule
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]
MODES = ("text", "image", "mask")
#: Of a bare loop: one with a mask starts from a noised image, as one with an image does, and blends besides.
LOOPS = ("text", "mask")
IDS = itertools.count()
STEPS = 3
#: A tenth of the usual timesteps: diffusers takes seconds to make some of its schedulers with 1000.
CONFIG = {**SD_SCHEDULER, "num_train_timesteps": 100}


def make_latents(shape: tuple[int, ...], device: Device, dtype: torch.dtype = torch.float32) -> Tensor:
    return device.from_host(torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype))


def run_loop(schedule: Schedule, mode: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """A guided job of two images with a model that computes next to nothing."""
    shape = (2, 4, 8, 8)
    noise, image = (make_latents(shape, schedule.device, dtype) for _ in range(2))
    start = InitialLatents(schedule.initial(noise) if mode == "text" else schedule.noised(image, noise, 0))
    if mode == "mask":
        mask = make_latents((2, 1, 8, 8), schedule.device, dtype)
        start = MaskBlending(start.latents, schedule, mask, image, noise)
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    return denoise(
        lambda x, step, t: torch.tanh(x) + t.tensor.to(x.dtype) / 1000,
        schedule,
        start,
        guidance=ClassifierFreeGuidance(3.0, 0.5),
        step_options=schedule.step_options(generators, 0.5),
        before_step=lambda step: None,
        after_step=lambda step, latents: None,
    )


def schedule_of(scheduler: str, mode: str, device: Device) -> Schedule:
    strength = None if mode == "text" else 0.7
    return make_schedule(TimestepSpec(scheduler, 6, strength=strength), CONFIG, device)


@pytest.mark.parametrize("mode", LOOPS)
@pytest.mark.parametrize("scheduler", DIFFUSION_SCHEDULERS)
def test_no_scheduler_waits_for_the_device(scheduler: str, mode: str) -> None:
    device = MetaDevice()
    schedule = schedule_of(scheduler, mode, device)
    device.leave_cpu()
    with NoWaits(device) as guard:
        assert run_loop(schedule, mode).device == META
    assert guard.seen > 0


@pytest.mark.parametrize("scheduler", ["euler_a", "unipc", "lcm"])
def test_replaced_calls_of_torch_have_the_same_bits(scheduler: str) -> None:
    # A device that replaces them and computes on the CPU, and one that does not
    for mode in LOOPS:
        schedules = [schedule_of(scheduler, mode, device) for device in (MetaDevice(), find_device("cpu"))]
        first, second = (run_loop(schedule, mode) for schedule in schedules)
        assert torch.equal(first, second)


class ProgressSink:
    """Stands for a `Lease`: remembers which steps it was told of."""

    is_preempted = False

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.previews: list[Callable[[], str]] = []

    def report_progress(self, step: int, total: int, preview: Callable[[], str]) -> None:
        self.steps.append(step)
        self.previews.append(preview)


def on_device(worker: UNetWorker, device: Device) -> UNetWorker:
    transport = ResidualTransport([worker.residual], worker.settings, device=device)
    return dataclasses.replace(worker, device=device, transport=transport)


def make_context(
    worker: UNetWorker, model: BaseModel, wanted: JobSpec, check: Callable[[], None]
) -> AttemptContext:
    return AttemptContext(
        worker=worker,
        model=model,
        spec=wanted,
        job_id=f"job{next(IDS)}",
        attempt="attempt",
        ordinal=1,
        role="leader",
        timeline=Timeline("unet1@test"),
        check=check,
        tenant=LOCAL,
    )


def generate_on_meta(worker: UNetWorker, wanted: JobSpec) -> tuple[NoWaits, GenerationResult]:
    """Generate with a model that has no numbers; from the second step on nothing may wait."""
    device = MetaDevice()
    guard = NoWaits(device, is_on=False)
    checks = itertools.count()

    def check() -> None:
        guard.is_on = guard.is_on or next(checks) > 0  # called before each step

    model = load(wanted.model)
    # With a checkpoint after each step that is not being stored: another thread waits for its copies
    worker = dataclasses.replace(worker, checkpoints=RecordingStore(worker))
    context = make_context(on_device(worker, device), model, wanted, check)
    generation = Generation(context, cast("Lease", ProgressSink()))
    device.leave_cpu()
    for part in model.parts.values():
        part.to(META)
    with guard:
        return guard, generation.run()


def inputs_of(worker: UNetWorker, mode: str) -> dict[str, Any]:
    if mode == "text":
        return {}
    changes: dict[str, Any] = {"image": store_image(worker, source_image()), "strength": 0.9}
    if mode == "mask":
        changes["mask_image"] = store_image(worker, mask_image())
    return changes


JOBS: dict[str, dict[str, Any]] = {
    "alone": {},
    "unguided": {"guidance_scale": 1.0},
    "image": {},
    "mask": {},
    "controlnets": {"count": 2},
    "controlnets-unguided": {"count": 1, "guidance_scale": 1.0},
    "controlnets-guess": {"count": 1, "guess_mode": True},
    "controlnets-split": {"count": 1, "split_steps": [1, 2]},
    "controlnets-image": {"count": 1},
    "controlnets-mask": {"count": 1},
    "controlnets-sdxl": {"count": 1, "model": "sdxl"},
    "mask-sdxl": {"model": "sdxl", "guidance_scale": 1.0},
}


def job_of(worker: UNetWorker, name: str) -> JobSpec:
    """The job ``name``, of two images; its last ControlNet ends early."""
    changes: dict[str, Any] = {"model": "sd1", "num_images": 2, "num_inference_steps": STEPS, **JOBS[name]}
    ends = (0.6, 1.0)[: changes.pop("count", 0)]
    controls = [control(worker, f"{changes['model']}-net", guidance_end=end) for end in reversed(ends)]
    mode = next((mode for mode in MODES if mode in name), "text")
    return spec(controlnets=controls, **inputs_of(worker, mode), **changes)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_waits_only_for_copies(make_worker: MakeWorker, name: str) -> None:
    worker = make_worker()
    guard, generated = generate_on_meta(worker, job_of(worker, name))
    assert len(generated.images) == 2
    assert guard.seen > 0


@pytest.fixture
def sync_is_an_error(cuda: Device) -> Iterator[Callable[[], None]]:
    """A function after whose call torch raises where it waits for the GPU by itself."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("mode", LOOPS)
@pytest.mark.parametrize("scheduler", DIFFUSION_SCHEDULERS)
def test_on_a_gpu_no_scheduler_waits_and_bits_are_diffusers(
    scheduler: str, mode: str, cuda: Device, sync_is_an_error: Callable[[], None]
) -> None:
    # Given diffusers' own way: timesteps on the device, and copies that wait
    plain = schedule_of(scheduler, mode, cuda)
    on_device = plain.timesteps.to(cuda.torch_device)
    plain.scheduler.timesteps = plain.scheduler.timesteps.to(cuda.torch_device)
    plain = dataclasses.replace(plain, timesteps=on_device, device=StreamlessDevice(cuda.torch_device))
    expected = run_loop(plain, mode, torch.float16)
    schedule = schedule_of(scheduler, mode, cuda)
    sync_is_an_error()
    found = run_loop(schedule, mode, torch.float16)
    torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", JOBS)
def test_on_a_gpu_a_job_waits_only_for_copies(
    make_worker: MakeWorker, name: str, cuda: Device, sync_is_an_error: Callable[[], None]
) -> None:
    worker = on_device(make_worker(), cuda)
    wanted = job_of(worker, name)
    model = load(wanted.model)
    for part in model.parts.values():
        part.to(cuda.torch_device)
    steps = itertools.count()

    def check() -> None:
        if next(steps) > 0:  # called before each step
            sync_is_an_error()

    generation = Generation(make_context(worker, model, wanted, check), cast("Lease", ProgressSink()))
    assert len(generation.run().images) == 2


@pytest.mark.parametrize("name", ["alone", "mask", "controlnets", "controlnets-guess"])
def test_an_asynchronous_device_generates_the_same_images(make_worker: MakeWorker, name: str) -> None:
    # Given a device on which copies to the host hold NaN until somebody waits for them
    worker = make_worker()
    wanted = job_of(worker, name)
    made = []
    for device in (find_device("cpu"), FakeDevice()):
        with worker.models.use(wanted.model) as model:
            context = make_context(on_device(worker, device), model, wanted, lambda: None)
            made.append(Generation(context, cast("Lease", ProgressSink())).run().images)
    assert [image.tobytes() for image in made[0]] == [image.tobytes() for image in made[1]]


def test_progress_and_times_of_an_asynchronous_device_are_complete(make_worker: MakeWorker) -> None:
    worker = make_worker()
    wanted = job_of(worker, "alone")
    sinks = []
    for device in (find_device("cpu"), FakeDevice()):
        sinks.append(ProgressSink())
        with worker.models.use(wanted.model) as model:
            context = make_context(on_device(worker, device), model, wanted, lambda: None)
            Generation(context, cast("Lease", sinks[-1])).run()
        names = [span.name for span in context.timeline.spans]
        assert (names.count("encoder"), names.count("decoder"), names.count("vae")) == (STEPS, STEPS, 1)
    expected, found = sinks
    assert expected.steps == [*range(1, STEPS + 1)]
    # Then no step is reported before it is done, none twice, and the last one at the end
    assert found.steps[-1] == STEPS
    assert found.steps == sorted(set(found.steps))
    # And a preview shows the latents, which hold NaN until somebody waits for them
    assert found.previews[-1]() == expected.previews[-1]()
