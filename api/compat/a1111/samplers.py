"""A1111's samplers and noise schedules ("schedulers" there), and the scheduler here that stands for both.

A1111 has named the noise schedule as part of the sampler ("DPM++ 2M Karras") until its version 1.9, and since
then apart from it; clients send either. "Automatic" is the schedule that A1111 prefers for the sampler. The
counterparts are those of diffusers' table (docs/api/schedulers/overview): the same solver, and timesteps as
diffusers places them. Source: AUTOMATIC1111/stable-diffusion-webui, ``modules/sd_samplers.py``,
``sd_samplers_kdiffusion.py``, ``sd_samplers_timesteps.py`` and ``sd_schedulers.py``.
"""

from typing import NamedTuple

from shared.catalog.schedulers import SCHEDULERS, schedulers_of, shift_problem
from shared.errors import NotFound
from shared.families.base import Config, FamilyFacts


class Sampler(NamedTuple):
    """A sampler of A1111 that has a counterpart."""

    name: str
    aliases: tuple[str, ...]
    #: Its counterpart, without a noise schedule.
    scheduler: str
    #: What "Automatic" is for it, by A1111's name.
    automatic: str = "uniform"
    #: Whether A1111 has it follow a noise schedule at all; else it ignores the one that it is given.
    is_scheduled: bool = True


class NoiseSchedule(NamedTuple):
    """A noise schedule of A1111 that has a counterpart."""

    name: str
    label: str
    #: What it adds to the name of a scheduler here.
    suffix: str


SAMPLERS = (
    Sampler("DPM++ 2M", ("k_dpmpp_2m",), "dpmpp_2m", "karras"),
    Sampler("DPM++ SDE", ("k_dpmpp_sde",), "dpmpp_sde", "karras"),
    Sampler("DPM++ 2M SDE", ("k_dpmpp_2m_sde",), "dpmpp_2m_sde", "exponential"),
    Sampler("Euler a", ("k_euler_a", "k_euler_ancestral"), "euler_a"),
    Sampler("Euler", ("k_euler",), "euler"),
    Sampler("LMS", ("k_lms",), "lms"),
    Sampler("Heun", ("k_heun",), "heun"),
    Sampler("DPM2", ("k_dpm_2",), "dpm2", "karras"),
    Sampler("DPM2 a", ("k_dpm_2_a",), "dpm2_a", "karras"),
    Sampler("LCM", ("k_lcm",), "lcm"),
    Sampler("DDIM", ("ddim",), "ddim", is_scheduled=False),
    Sampler("PLMS", ("plms",), "pndm", is_scheduled=False),
    Sampler("UniPC", ("unipc",), "unipc", is_scheduled=False),
)
#: The one that is taken if a request names none.
DEFAULT_SAMPLER = "Euler"
AUTOMATIC = NoiseSchedule("automatic", "Automatic", "")
NOISE_SCHEDULES = (
    AUTOMATIC,
    NoiseSchedule("uniform", "Uniform", ""),
    NoiseSchedule("karras", "Karras", "_karras"),
    NoiseSchedule("exponential", "Exponential", "_exponential"),
    NoiseSchedule("normal", "Normal", ""),
    NoiseSchedule("beta", "Beta", "_beta"),
)
#: What the samplers are for models of flow matching.
_FLOW_MATCH = {
    "euler": "flow_match_euler",
    "euler_karras": "flow_match_euler_karras",
    "euler_exponential": "flow_match_euler_exponential",
    "euler_beta": "flow_match_euler_beta",
    "heun": "flow_match_heun",
    "lcm": "flow_match_lcm",
    "dpmpp_2m": "dpmpp_2m_flow",
    "unipc": "unipc_flow",
}
_OF_FLOW_MATCH = {own: diffusion for diffusion, own in _FLOW_MATCH.items()}
_SAMPLERS = {name.lower(): sampler for sampler in SAMPLERS for name in (sampler.name, *sampler.aliases)}
_SCHEDULES = {name: one for one in NOISE_SCHEDULES for name in (one.name, one.label.lower())}


def is_chosen(sampler_name: str | None, sampler_index: str | None, scheduler: str | None) -> bool:
    """Whether these fields ask for a scheduler: "automatic" without a sampler leaves it to the model."""
    if sampler_name or sampler_index:
        return True
    return (scheduler or AUTOMATIC.name).lower() != AUTOMATIC.name


def find_scheduler(
    sampler_name: str | None,
    sampler_index: str | None,
    scheduler: str | None,
    facts: FamilyFacts | None = None,
    config: Config | None = None,
) -> str:
    """The scheduler here for the fields of a request; ``sampler_index`` is the old name of the first one.

    A noise schedule in the sampler's name counts before ``scheduler``, as in A1111. Upper and lower case are
    the same. ``facts`` are those of the model's family: one of flow matching has counterparts of its own;
    ``config`` is the model's scheduler config, if it is known.
    Raises `NotFound`, naming those that are known.
    """
    if facts is None or not facts.matches_flow:
        return _find_scheduler(sampler_name, sampler_index, scheduler)
    if (scheduler or AUTOMATIC.name).lower() in (AUTOMATIC.name, "simple"):  # as Forge calls it
        scheduler = "uniform"
    found = _find_scheduler(sampler_name, sampler_index, scheduler)
    found = _FLOW_MATCH.get(found, found)
    schedulers = schedulers_of(facts, config)
    if found not in schedulers:
        known = ", ".join(one.name for one in SAMPLERS if _FLOW_MATCH.get(one.scheduler) in schedulers)
        name = sampler_name or sampler_index or DEFAULT_SAMPLER
        why = shift_problem(found, facts, config) if found in schedulers_of(facts) else None
        who = f"this {facts.label}: {why}" if why else facts.label
        raise NotFound(f"sampler {name[:60]!r} is not for {who}; known are {known}")
    return found


def _find_scheduler(sampler_name: str | None, sampler_index: str | None, scheduler: str | None) -> str:
    name = sampler_name or sampler_index or DEFAULT_SAMPLER
    sampler, schedule = _SAMPLERS.get(name.lower()), scheduler or AUTOMATIC.name
    if sampler is None and name in SCHEDULERS:  # a name of this fleet says all of it
        return name
    if sampler is None:
        beginning, _, end = name.rpartition(" ")
        sampler = _SAMPLERS.get(beginning.lower()) if end.lower() in _SCHEDULES else None
        schedule = end
    if sampler is None:
        known = ", ".join(one.name for one in SAMPLERS)
        raise NotFound(f"there is no sampler {name[:60]!r}; known are {known}")
    if not sampler.is_scheduled:
        return sampler.scheduler
    found = _find_schedule(schedule)
    return _join(sampler, _SCHEDULES[sampler.automatic] if found is AUTOMATIC else found)


def _find_schedule(name: str) -> NoiseSchedule:
    schedule = _SCHEDULES.get(name.lower())
    if schedule is None:
        known = ", ".join(one.label for one in NOISE_SCHEDULES)
        raise NotFound(f"there is no scheduler {name[:60]!r}; known are {known}")
    return schedule


def _join(sampler: Sampler, schedule: NoiseSchedule) -> str:
    joined = sampler.scheduler + schedule.suffix
    if joined not in SCHEDULERS:
        fitting = [one for one in NOISE_SCHEDULES if sampler.scheduler + one.suffix in SCHEDULERS]
        known = ", ".join(one.label for one in fitting)
        raise NotFound(f"sampler {sampler.name!r} has no scheduler {schedule.label!r}; known are {known}")
    return joined


def find_sampler(scheduler: str) -> tuple[str, str | None]:
    """The sampler and the label of the noise schedule that a scheduler here stands for.

    A scheduler without a counterpart keeps its name, which `find_scheduler` takes, too.
    """
    return _NAMES.get(_OF_FLOW_MATCH.get(scheduler, scheduler), (scheduler, None))


_NAMES = {
    sampler.scheduler + schedule.suffix: (sampler.name, schedule.label if sampler.is_scheduled else None)
    for sampler in SAMPLERS
    for schedule in reversed(NOISE_SCHEDULES)  # of two without a suffix the first counts
    if schedule is not AUTOMATIC
}
