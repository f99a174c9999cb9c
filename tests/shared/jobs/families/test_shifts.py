"""How a model's scheduler shifts decides which schedulers it can have: those that diffusers runs."""

import itertools
from typing import Any

import diffusers
import numpy as np
import pytest
from diffusers.pipelines.flux.pipeline_flux import retrieve_timesteps

from shared.catalog.schedulers import SCHEDULERS, schedulers_of
from shared.errors import InvalidRequest
from shared.families.base import Config, FamilyFacts
from shared.families.flux import FLUX
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.sd3 import SD3
from shared.families.z_image import Z_IMAGE
from shared.jobs.families.asked_job import AskedJob, KnownModel
from shared.jobs.families.checks import check_job
from shared.jobs.options import JobOptions

FAMILIES: list[FamilyFacts] = [FLUX, SD3, QWEN_IMAGE, Z_IMAGE]
STEPS, MU = 4, 0.9
SHIFTS: dict[str, dict[str, Any]] = {
    "static": {"shift": 3.0},
    "exponential": {"shift": 3.0, "use_dynamic_shifting": True, "time_shift_type": "exponential"},
    "linear": {"shift": 3.0, "use_dynamic_shifting": True, "time_shift_type": "linear"},
    "dynamic": {"use_dynamic_shifting": True},
}


def is_refused(facts: FamilyFacts, scheduler: str, config: Config, *, has_controlnets: bool) -> bool:
    asked = AskedJob(
        options=JobOptions(prompt="a cat"),
        mode="text",
        controlnets=["edge"] * has_controlnets,
        scheduler=scheduler,
        guidance_scale=facts.defaults.guidance_scale,
        sides={},
    )
    try:
        check_job(asked, KnownModel("m", facts, facts.label, config))
    except InvalidRequest as refused:
        return refused.field in ("scheduler", "controlnets")
    return False


def diffusers_fails(facts: FamilyFacts, scheduler: str, config: Config, *, has_controlnets: bool) -> bool:
    """Whether the call that the family's pipeline makes fails."""
    made = getattr(diffusers, SCHEDULERS[scheduler].name).from_config(
        dict(config), **SCHEDULERS[scheduler].options
    )
    options: dict[str, Any] = {"mu": MU, "sigmas": np.linspace(1.0, 1 / STEPS, STEPS)}
    if facts is FLUX and not has_controlnets and made.config.get("use_flow_sigmas"):
        options["sigmas"] = None
    if facts is Z_IMAGE:
        options["sigmas"] = options["sigmas"].tolist()
    if facts is SD3:
        is_shifted = made.config.get("use_dynamic_shifting") and not has_controlnets
        options = {"mu": MU} if is_shifted else {}
    try:
        retrieve_timesteps(made, STEPS, "cpu", **options)
    except (AssertionError, TypeError, ValueError):
        return True
    return False


#: Static steps in place of those of the image's size: no failure, and not what the model was trained for.
UNSHIFTED = {(SD3.name, name, True) for name in ("dpmpp_2m_flow", "flow_match_heun")}
CASES = list(itertools.product(FAMILIES, SHIFTS, [False, True]))
IDS = [f"{facts.name} {shift}{' controlnets' * has}" for facts, shift, has in CASES]


@pytest.mark.parametrize(("facts", "shift", "has_controlnets"), CASES, ids=IDS)
def test_a_scheduler_is_refused_with_a_shift_that_diffusers_fails_with(
    facts: FamilyFacts, shift: str, has_controlnets: bool
) -> None:
    config = SHIFTS[shift]
    refused, failing = (
        {name for name in SCHEDULERS if SCHEDULERS[name].matches_flow and fails(name)}
        for fails in (
            lambda name: is_refused(facts, name, config, has_controlnets=has_controlnets),
            lambda name: diffusers_fails(facts, name, config, has_controlnets=has_controlnets),
        )
    )
    unshifted = {
        name
        for name in SCHEDULERS
        if (facts.name, name, has_controlnets) in UNSHIFTED and config.get("use_dynamic_shifting")
    }
    assert refused == failing | unshifted


@pytest.mark.parametrize(("facts", "shift"), list(itertools.product(FAMILIES, SHIFTS)))
def test_a_model_lists_the_schedulers_that_its_jobs_without_controlnets_may_have(
    facts: FamilyFacts, shift: str
) -> None:
    taken = [
        name
        for name in SCHEDULERS
        if SCHEDULERS[name].matches_flow and not is_refused(facts, name, SHIFTS[shift], has_controlnets=False)
    ]
    assert list(schedulers_of(facts, SHIFTS[shift])) == taken


def test_the_refusal_says_what_the_models_scheduler_lacks() -> None:
    asked = AskedJob(JobOptions(prompt="a cat"), "text", [], "dpmpp_2m_flow", 0.0, {})
    with pytest.raises(InvalidRequest) as refused:
        check_job(asked, KnownModel("schnell", FLUX, FLUX.label, SHIFTS["static"]))
    assert refused.value.field == "scheduler"
    assert str(refused.value).startswith(
        "scheduler 'dpmpp_2m_flow' is not for model 'schnell' (Flux.1): it needs a model whose"
        " scheduler shifts by the image's size, and exponentially; model 'schnell' takes flow_match_euler, "
    )
