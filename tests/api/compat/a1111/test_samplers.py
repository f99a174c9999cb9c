"""A1111's names of samplers: old and new ones, as clients send them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.compat.a1111.samplers import NOISE_SCHEDULES, SAMPLERS, find_sampler, find_scheduler
from shared.catalog.schedulers import SCHEDULERS, schedulers_of
from shared.errors import NotFound
from shared.families.flux import FLUX


@pytest.mark.parametrize(
    ("sampler", "scheduler", "own"),
    [
        ("Euler a", None, "euler_a"),
        ("Euler", "Automatic", "euler"),
        ("Euler", "automatic", "euler"),
        ("Euler", "normal", "euler"),
        ("Euler", "Uniform", "euler"),
        ("Euler", "karras", "euler_karras"),
        ("euler", "BETA", "euler_beta"),
        ("k_euler_a", None, "euler_a"),
        ("LMS Karras", None, "lms_karras"),
        ("Heun", "Exponential", "heun_exponential"),
        ("DPM2 a Karras", None, "dpm2_a_karras"),
        ("DPM++ 2M Karras", None, "dpmpp_2m_karras"),
        ("DPM++ 2M Karras", "Exponential", "dpmpp_2m_karras"),  # the name counts first
        ("dpm++ 2m karras", "automatic", "dpmpp_2m_karras"),
        ("DPM++ 2M SDE Exponential", None, "dpmpp_2m_sde_exponential"),
        ("DPM++ SDE Karras", None, "dpmpp_sde_karras"),
        ("DPM++ 2M", "automatic", "dpmpp_2m_karras"),  # what A1111 prefers for each
        ("DPM++ 2M SDE", None, "dpmpp_2m_sde_exponential"),
        ("DPM2", None, "dpm2_karras"),
        ("DPM++ 2M", "uniform", "dpmpp_2m"),
        ("DPM++ 2M Uniform", None, "dpmpp_2m"),
        ("DDIM", "Karras", "ddim"),  # A1111 has it follow no schedule
        ("DDIM", "Align Your Steps", "ddim"),
        ("PLMS", None, "pndm"),
        ("UniPC", "Exponential", "unipc"),
        ("LCM", None, "lcm"),
        ("dpmpp_2m_sde_lu", "karras", "dpmpp_2m_sde_lu"),
        (None, None, "euler"),
        ("", "", "euler"),
    ],
)
def test_a_sampler_and_a_noise_schedule_are_one_scheduler(
    sampler: str | None, scheduler: str | None, own: str
) -> None:
    assert find_scheduler(sampler, None, scheduler) == own


def test_the_old_field_counts_where_the_new_one_is_missing() -> None:
    assert find_scheduler(None, "Euler a", None) == "euler_a"
    assert find_scheduler("", "DPM++ 2M Karras", None) == "dpmpp_2m_karras"
    assert find_scheduler("Heun", "Euler a", None) == "heun"


@pytest.mark.parametrize(
    "name", ["DPM fast", "DPM++ 3M SDE", "Restart", "DPM++ 2S a Karras", "Karras", " ", "x" * 999]
)
def test_a_sampler_without_counterpart_names_those_that_have_one(name: str) -> None:
    with pytest.raises(NotFound) as refused:
        find_scheduler(name, None, None)
    assert str(refused.value).startswith(f"there is no sampler {name[:60]!r}; known are DPM++ 2M, ")
    assert str(refused.value).endswith("UniPC")


@pytest.mark.parametrize("name", ["Align Your Steps", "sgm_uniform", "KL Optimal", "simple", "ddim", "none"])
def test_a_noise_schedule_without_counterpart_names_those_that_have_one(name: str) -> None:
    with pytest.raises(NotFound, match="known are Automatic, Uniform, Karras, Exponential, Normal, Beta"):
        find_scheduler("Euler", None, name)


@pytest.mark.parametrize("asked", [("Euler a", "Karras"), ("Euler a Karras", None), ("LCM", "beta")])
def test_a_sampler_that_cannot_follow_a_schedule_names_those_it_can(asked: tuple[str, str | None]) -> None:
    with pytest.raises(NotFound, match=r"known are Automatic, Uniform, Normal$"):
        find_scheduler(asked[0], None, asked[1])


def test_every_sampler_has_a_counterpart_with_what_is_automatic_for_it() -> None:
    found = {sampler.name: find_scheduler(sampler.name, None, None) for sampler in SAMPLERS}
    assert set(found.values()) <= SCHEDULERS.keys()
    assert len(set(found.values())) == len(SAMPLERS)
    assert {sampler.automatic for sampler in SAMPLERS} <= {one.name for one in NOISE_SCHEDULES}


@given(*[st.none() | st.text(max_size=20) | st.sampled_from(["Euler", "DPM++ 2M", "Karras", "Euler "])] * 3)
def test_any_names_are_found_or_refused(
    sampler: str | None, index: str | None, scheduler: str | None
) -> None:
    try:
        assert find_scheduler(sampler, index, scheduler) in SCHEDULERS
    except NotFound:
        return


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (("Euler", None), "flow_match_euler"),
        (("Euler", "Simple"), "flow_match_euler"),
        (("Euler", "Beta"), "flow_match_euler_beta"),
        (("Euler Karras", None), "flow_match_euler_karras"),
        (("DPM++ 2M", "Automatic"), "dpmpp_2m_flow"),
        (("flow_match_lcm", None), "flow_match_lcm"),
    ],
)
def test_samplers_have_counterparts_for_models_of_flow_matching(
    asked: tuple[str, str | None], name: str
) -> None:
    assert find_scheduler(asked[0], None, asked[1], FLUX) == name
    assert name in schedulers_of(FLUX)
    assert find_scheduler(find_sampler(name)[0], None, find_sampler(name)[1], FLUX) == name


@pytest.mark.parametrize("asked", [("Euler a", None), ("DDIM", None), ("DPM++ 2M", "Karras"), ("Heun", None)])
def test_a_sampler_that_flux_has_no_counterpart_of_is_refused_by_name(asked: tuple[str, str | None]) -> None:
    with pytest.raises(NotFound) as refused:
        find_scheduler(asked[0], None, asked[1], FLUX)
    assert str(refused.value) == (
        f"sampler {asked[0]!r} is not for Flux.1; known are DPM++ 2M, Euler, LCM, UniPC"
    )


def test_a_sampler_that_the_models_shift_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(NotFound) as refused:
        find_scheduler("DPM++ 2M", None, None, FLUX, {"shift": 1.0})
    why = "it needs a model whose scheduler shifts by the image's size, and exponentially"
    assert str(refused.value) == (
        f"sampler 'DPM++ 2M' is not for this Flux.1: {why}; known are Euler, LCM, UniPC"
    )
    assert find_scheduler("DPM++ 2M", None, None, FLUX, {"use_dynamic_shifting": True}) == "dpmpp_2m_flow"
