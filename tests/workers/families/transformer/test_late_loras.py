"""LoRAs that take effect in the middle of a job, in every family: held against diffusers, step by step."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from redis import Redis

from shared.families.base import FamilyFacts
from shared.families.flux import FLUX
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.sd3 import SD3
from shared.families.z_image import Z_IMAGE
from shared.jobs.spec import JobSpec
from shared.settings import Settings
from tests.tiny_transformers import (
    make_flux,
    make_flux_controlnet,
    make_lora,
    make_qwen_image,
    make_qwen_image_controlnet,
    make_sd3,
    make_sd3_controlnet,
    make_z_image,
    make_z_image_controlnet,
)
from tests.transformers_peer import generate_with_late_loras
from tests.workers.families.transformer.two_workers import two_workers
from tests.workers.families.transformer.world import Decoded, TransformerWorld, make_world
from tests.workers.unet.jobs import upload

STEPS, FIRST_STEP, SCALE = 4, 2, 0.8
TRUE_CFG = {"negative_prompt": "a house", "true_cfg_scale": 2.5}
GUIDED = {"negative_prompt": "a house", "guidance_scale": 4.0}


class Case(NamedTuple):
    """One family: its models, the parts that the LoRA trains, and what a guided job says."""

    facts: FamilyFacts
    make: Callable[[], Any]
    make_controlnet: Callable[[], Any]
    parts: tuple[str, ...]
    guided: dict[str, Any]


CASES = [
    Case(FLUX, make_flux, make_flux_controlnet, ("transformer", "text_encoder"), TRUE_CFG),
    Case(SD3, make_sd3, make_sd3_controlnet, ("transformer", "text_encoder", "text_encoder_2"), GUIDED),
    Case(QWEN_IMAGE, make_qwen_image, make_qwen_image_controlnet, ("transformer",), TRUE_CFG),
    Case(Z_IMAGE, make_z_image, make_z_image_controlnet, ("transformer",), GUIDED),
]


class Late(NamedTuple):
    """A job whose LoRA takes effect at `FIRST_STEP`, and what generates it."""

    world: TransformerWorld
    lora: Path
    spec: JobSpec

    def find_first_steps(self, ours: Decoded, steps: Sequence[int]) -> list[int]:
        """Those of ``steps`` from which on diffusers has the LoRA in that image, up to rounded weights."""
        with self.world.models(self.spec) as (pipe, controlnets):
            with self.world.worker.models.use(self.spec.model) as model:
                model.patcher.restore()
            theirs = generate_with_late_loras(pipe, controlnets, self.spec, [(self.lora, SCALE)], steps)
        found = zip(steps, theirs, strict=True)
        return [step for step, [pixels] in found if np.abs(ours.pixels[0] - pixels).max() <= 1]


def family(case: Case) -> str:
    return case.facts.name


@pytest.fixture(scope="module", params=CASES, ids=family)
def late(
    request: pytest.FixtureRequest, servers: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Late]:
    case: Case = request.param
    folder, pipe = tmp_path_factory.mktemp(case.facts.name), case.make()
    make_lora(pipe, lora := folder / "late.safetensors", parts=case.parts)
    controlnets = {"net": ("base", case.make_controlnet())}
    with make_world(servers, folder, {"base": pipe}, controlnets, "float32") as world:
        if case.facts.controlnet_layers:  # which the LoRA trains, too: then the UNet worker computes them
            own = dataclasses.replace(world.worker, served_controlnets=list(controlnets))
            world = dataclasses.replace(world, worker=own)
        ref = upload(world.worker, lora, SCALE)
        spec = world.spec(
            num_inference_steps=STEPS,
            controlnets=[world.control("net", conditioning_scale=0.7)],
            loras=[ref],
            lora_loading={"mode": "replay", "steps": {ref.name: FIRST_STEP}},
            **case.guided,
        )
        yield Late(world, lora, spec)


def test_an_image_is_diffusers_own_with_the_lora_from_that_step_on(late: Late) -> None:
    job, ours = late.world.run(late.spec)
    assert job.receipt is not None
    assert [lora.step for lora in job.receipt.loras] == [FIRST_STEP]
    assert late.find_first_steps(ours, [1, 2, 3]) == [FIRST_STEP]


TWO_FORWARDS = [case for case in CASES if case.facts.guidance_batches == "two_forwards"]


@pytest.mark.parametrize("late", TWO_FORWARDS, ids=family, indirect=True)
def test_a_follower_patches_it_at_the_same_step(late: Late, control: Redis) -> None:
    _, whole = late.world.run(late.spec)
    with two_workers(late.world, control, "base") as pair:
        split = late.spec.model_copy(update={"latent_parallelism": "on"})
        job, ours = late.world.run(split, pair.worker)
        assert pair.ended.get(timeout=60) == "released"
    # Given that the follower, which has begun without the LoRA, has predicted at least one step with it
    assert job.receipt is not None
    before = [step for step in job.receipt.spec.split_steps or () if step < FIRST_STEP]
    assert [span.name for span in job.timeline].count("uncond branch") > len(before)
    # Then the image has the bits of one that is computed on one worker
    assert ours.has_bits_of(whole)
