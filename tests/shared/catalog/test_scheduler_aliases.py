import pytest

from shared.catalog.scheduler_aliases import canonical_name
from shared.catalog.schedulers import SCHEDULERS


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("EulerAncestralDiscreteScheduler", "euler_a"),
        ("EulerDiscreteScheduler", "euler"),
        ("DPMSolverMultistepScheduler", "dpmpp_2m"),
        ("KDPM2AncestralDiscreteScheduler", "dpm2_a"),
        ("UniPCMultistepScheduler", "unipc"),
        ("DDIMScheduler", "ddim"),
        ("PNDMScheduler", "pndm"),
        ("LMSDiscreteScheduler", "lms"),
        ("SASolverScheduler", "sa_solver"),
        ("euler_ancestral", "euler_a"),
        ("Euler a", "euler_a"),
        ("k_euler_ancestral", "euler_a"),
        ("euler_k", "euler_karras"),
        ("DPM++ 2M Karras", "dpmpp_2m_karras"),
        ("dpm++ 2m karras", "dpmpp_2m_karras"),
        ("dpmpp_2m_karras", "dpmpp_2m_karras"),
        ("DPM++ 2M SDE Exponential", "dpmpp_2m_sde_exponential"),
        ("DPM2 a Karras", "dpm2_a_karras"),
        ("dpm_2_ancestral", "dpm2_a"),
        ("DPM++ SDE", "dpmpp_sde"),
        ("uni_pc", "unipc"),
        ("LCM", "lcm"),
    ],
)
def test_names_of_other_programs_are_translated(name: str, own: str) -> None:
    assert canonical_name(name) == own


@pytest.mark.parametrize("name", ["PLMS", "DPM fast", "dpmpp_3m_sde", "euler_a_karras", "", "k"])
def test_a_name_of_no_scheduler_is_left_as_it_is(name: str) -> None:
    assert canonical_name(name) == name


def test_every_canonical_name_means_itself() -> None:
    assert {name: canonical_name(name.replace("_", " ").upper()) for name in SCHEDULERS} == {
        name: name for name in SCHEDULERS
    }


def test_the_class_name_means_the_scheduler_without_options() -> None:
    assert {canonical_name(kind.name) for kind in SCHEDULERS.values() if not kind.options} == {
        name for name, kind in SCHEDULERS.items() if not kind.options
    }
