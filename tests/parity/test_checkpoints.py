"""A loop that is interrupted and continued by another process computes the bits of one that is not."""

import copy
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from shared.catalog.schedulers import DIFFUSION_SCHEDULERS, FLOW_MATCH_SCHEDULERS, SCHEDULERS, schedulers_of
from shared.families.flux import FLUX
from shared.jobs.receipt import WorkerReceipt
from tests.parity.report import CHECKPOINTS
from tests.scheduler_config import SD_SCHEDULER
from workers.devices.selection import find_device
from workers.families.guidance import ClassifierFreeGuidance
from workers.unet.checkpoints.checkpoint import Basis, Checkpoint, CheckpointCopy, StepsSoFar
from workers.unet.checkpoints.loop_state import LoopState
from workers.unet.checkpoints.scheduler_state import SchedulerState
from workers.unet.denoising.denoise import AfterStep, InitialLatents, denoise
from workers.unet.latents.inpaint import MaskBlending
from workers.unet.timesteps.schedule import Schedule, Timestep, TimestepSpec, make_schedule

CPU = find_device("cpu")
MODES = ("text", "image", "mask")
#: "prk": PNDM begins with Runge-Kutta steps, as with models whose config does not say otherwise.
#: "dynamic": flow matching is shifted by the image's size, as Flux does it, and else by a fixed number.
CASES = [
    *itertools.product(DIFFUSION_SCHEDULERS, MODES),
    ("pndm", "prk"),
    *(
        (name, mode)
        for name in FLOW_MATCH_SCHEDULERS
        for mode in MODES
        if mode == "text" or SCHEDULERS[name].begins_from_image
    ),
    *((name, "dynamic") for name in schedulers_of(FLUX)),
]
STEPS, IMAGES, ETA = 5, 2, 0.5
BASIS = Basis(
    worker=WorkerReceipt(device="cpu", threads=1, dtype="float32", versions={}), model_sha256="", request=""
)


@dataclass
class Loop:
    """Everything that a process makes of a request before the first step."""

    schedule: Schedule
    scheduler: SchedulerState
    generators: list[Generator]
    start: InitialLatents

    def run(self, after_step: AfterStep = lambda step, x: None, first_step: int = 0) -> Tensor:
        return denoise(
            predict,
            self.schedule,
            self.start,
            guidance=ClassifierFreeGuidance(3.0, 0.5),
            step_options=self.schedule.step_options(self.generators, ETA),
            before_step=lambda step: None,
            after_step=after_step,
            first_step=first_step,
        )

    def copy_state(self, step: int, latents: Tensor) -> CheckpointCopy:
        state = LoopState.of(step, latents, self.scheduler, self.generators)
        return CheckpointCopy(state, BASIS, StepsSoFar(), CPU)

    def run_one_step(self, frame: bytes) -> bytes:
        """Continue from ``frame``, if there is one, until the next step boundary."""
        frames: list[bytes] = []

        def interrupt(step: int, x: Tensor) -> None:
            frames.append(self.copy_state(step + 1, x).pack())
            raise Interrupted

        with pytest.raises(Interrupted):
            self.resume(frame, interrupt)
        return frames[0]

    def resume(self, frame: bytes, after_step: AfterStep = lambda step, x: None) -> Tensor:
        if not frame:
            return self.run(after_step)
        state = Checkpoint(frame).state(CPU)
        state.restore(self.scheduler, self.generators)
        self.start.latents = state.latents
        return self.run(after_step, state.step)


@cache
def make_model() -> torch.nn.Sequential:
    """As small as a base model can be: whole jobs are in ``tests/workers/unet/checkpoints``."""
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(4, 16, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(16, 4, 3, padding=1)
    return torch.nn.Sequential(*layers).requires_grad_(False)


def predict(x: Tensor, step: int, t: Timestep) -> Tensor:
    prediction: Tensor = make_model()(x) + t.tensor / 1000
    return prediction


def sample(generators: Sequence[Generator]) -> Tensor:
    return torch.cat([torch.randn(1, 4, 8, 8, generator=generator) for generator in generators])


@cache
def pristine(scheduler: str, strength: float | None, variant: str) -> Schedule:
    """Making one takes diffusers up to a second: each loop gets a copy that was never used."""
    options = {"mu": 0.9} if variant == "dynamic" else {}
    steps = TimestepSpec(scheduler, STEPS, strength=strength, options=json.dumps(options))
    return make_schedule(steps, config_of(scheduler, variant), CPU)


def config_of(scheduler: str, variant: str) -> dict[str, Any]:
    if scheduler in FLOW_MATCH_SCHEDULERS:
        return {"num_train_timesteps": 1000, "shift": 3.0, "use_dynamic_shifting": variant == "dynamic"}
    # A tenth of the usual timesteps: diffusers takes seconds to make some of its schedulers with 1000.
    return SD_SCHEDULER | {"skip_prk_steps": variant != "prk", "num_train_timesteps": 100}


def make_loop(scheduler: str, mode: str) -> Loop:
    strength = 0.9 if mode in ("image", "mask") else None
    schedule = copy.deepcopy(pristine(scheduler, strength, "" if mode in MODES else mode))
    state = SchedulerState(schedule.scheduler)
    generators = [torch.Generator().manual_seed(seed) for seed in range(IMAGES)]
    image, noise = sample(generators), sample(generators)
    is_text = mode not in ("image", "mask")
    start = InitialLatents(schedule.initial(noise) if is_text else schedule.noised(image, noise, 0))
    if mode == "mask":
        mask = (sample(generators)[:, :1] > 0).float()
        start = MaskBlending(start.latents, schedule, mask, image, noise)
    return Loop(schedule, state, generators, start)


class Interrupted(Exception):
    """The process ends here."""


@pytest.mark.parametrize(("scheduler", "mode"), CASES)
def test_a_loop_interrupted_after_each_step_equals_an_undisturbed_one(
    scheduler: str, mode: str, record_property: Callable[[str, object], None]
) -> None:
    undisturbed = make_loop(scheduler, mode)
    copies: list[CheckpointCopy] = []
    wanted = undisturbed.run(lambda step, x: copies.append(undisturbed.copy_state(step + 1, x)))
    loop, kept, frame = make_loop(scheduler, mode), set[str](), b""
    for copied in copies[:-1]:
        # Given a process that ends after this step, and another one that knows only what it has stored
        frame = loop.run_one_step(frame)
        kept |= Checkpoint(frame).state(CPU).scheduler.keys()
        # Then that is also what is packed after the steps that follow: they write to nothing that was kept
        assert copied.pack() == frame
        loop = make_loop(scheduler, mode)
    row = {"mode": mode, "interruptions": len(copies) - 1, "kept": sorted(kept)}
    record_property(CHECKPOINTS, {"class": type(loop.schedule.scheduler).__name__, **row})
    assert torch.equal(loop.resume(frame), wanted)
