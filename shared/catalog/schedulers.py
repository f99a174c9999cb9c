"""Schedulers by name: the diffusers class of each, its options, and the fields of a job that it supports.

Names are those of diffusers' own table (docs/api/schedulers/overview), with its noise schedules as
suffixes. Tests compare all of this with diffusers itself. Left out are classes made for other models
(EDM's preconditioning, IPNDM's own timesteps), the parallel variants of DDIM and DDPM,
which give the same images, and ``DPMSolverSDE``: its noise comes from ``torchsde`` (no release since 2023)
and not from the pipeline's generators, so that a seed does not determine the image.

Models are trained to predict noise, or to match a flow: each kind has schedulers of its own, and which of
them a model takes its family says (`schedulers_of`).
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from shared.families.base import Config, FamilyFacts

#: The largest number of steps of any scheduler.
MAX_STEPS = 1000
_TIMESTEPS = frozenset({"timesteps"})


class SchedulerClass(NamedTuple):
    """A class of ``diffusers`` and the options that override the model's scheduler config.

    ``takes`` lists the fields of a job that only some schedulers support: ``timesteps`` and ``sigmas`` in
    place of a number of steps, and ``eta``.
    """

    name: str
    options: dict[str, Any]
    takes: frozenset[str] = frozenset()
    #: The option that a model's ``shift`` is given as, of flow matching; None: it has none.
    shift_option: str | None = None
    #: Whether it can begin from an image: diffusers' pipelines do so with ``scale_noise`` for flow matching.
    begins_from_image: bool = True
    #: Of flow matching: with which shift of the model it can be given ``mu``.
    takes_mu: Literal["any", "exponential", "none"] = "any"

    @property
    def matches_flow(self) -> bool:
        """Whether it is for models that were trained to match a flow."""
        return self.shift_option is not None

    def skipped_steps(self, count: int, strength: float) -> int:
        """How many of ``count`` steps a job does not run that begins from an image.

        diffusers' ``get_timesteps`` rounds down what is left; with flow matching, what is not.
        """
        if self.matches_flow:
            return int(max(count - min(count * strength, count), 0))
        return count - min(int(count * strength), count)


_SDE: dict[str, Any] = {"algorithm_type": "sde-dpmsolver++"}

_PLAIN = {
    "ddim": SchedulerClass("DDIMScheduler", {}, frozenset({"eta"})),
    "ddpm": SchedulerClass("DDPMScheduler", {}, _TIMESTEPS),
    "deis": SchedulerClass("DEISMultistepScheduler", {}),
    "dpm2": SchedulerClass("KDPM2DiscreteScheduler", {}),
    "dpm2_a": SchedulerClass("KDPM2AncestralDiscreteScheduler", {}),
    "dpmpp_2m": SchedulerClass("DPMSolverMultistepScheduler", {}, _TIMESTEPS),
    "dpmpp_2m_sde": SchedulerClass("DPMSolverMultistepScheduler", _SDE, _TIMESTEPS),
    "dpmpp_sde": SchedulerClass("DPMSolverSinglestepScheduler", {}, _TIMESTEPS),
    "euler": SchedulerClass("EulerDiscreteScheduler", {}, frozenset({"timesteps", "sigmas"})),
    "euler_a": SchedulerClass("EulerAncestralDiscreteScheduler", {}),
    "heun": SchedulerClass("HeunDiscreteScheduler", {}, _TIMESTEPS),
    "lcm": SchedulerClass("LCMScheduler", {}, _TIMESTEPS),
    "lms": SchedulerClass("LMSDiscreteScheduler", {}),
    "pndm": SchedulerClass("PNDMScheduler", {}),
    "sa_solver": SchedulerClass("SASolverScheduler", {}),
    "tcd": SchedulerClass("TCDScheduler", {}, frozenset({"timesteps", "eta"})),
    "unipc": SchedulerClass("UniPCMultistepScheduler", {}),
}
#: They compute with integer timesteps: with many steps, the first ones of a beta schedule are equal.
_MULTISTEP = ("deis", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_sde", "sa_solver", "unipc")
#: Schedulers that can place their steps by another noise schedule.
_SCHEDULED = (*_MULTISTEP, "dpm2", "dpm2_a", "euler", "heun", "lms")


def _scheduled(name: str, **options: Any) -> SchedulerClass:
    """A noise schedule determines the timesteps, so that a job cannot."""
    plain = _PLAIN[name]
    return plain._replace(options=plain.options | options, takes=plain.takes - _TIMESTEPS)


def _linspace(name: str) -> dict[str, Any]:
    """The option that diffusers' table adds to these schedules; the single-step solver has no other."""
    return {} if name == "dpmpp_sde" else {"timestep_spacing": "linspace"}


_KARRAS = {f"{name}_karras": _scheduled(name, use_karras_sigmas=True) for name in _SCHEDULED}
_EXPONENTIAL = {
    f"{name}_exponential": _scheduled(name, use_exponential_sigmas=True, **_linspace(name))
    for name in _SCHEDULED
}
_BETA = {f"{name}_beta": _scheduled(name, use_beta_sigmas=True, **_linspace(name)) for name in _SCHEDULED}
_LU = {f"{name}_lu": _scheduled(name, use_lu_lambdas=True) for name in ("dpmpp_2m", "dpmpp_2m_sde")}

_DIFFUSION = {**_PLAIN, **_KARRAS, **_EXPONENTIAL, **_BETA, **_LU}

_FLOW: dict[str, Any] = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}


def _flow_match(name: str, takes: frozenset[str] = frozenset(), **options: Any) -> SchedulerClass:
    return SchedulerClass(f"FlowMatch{name}Scheduler", options, takes, shift_option="shift")


_DPMPP = SchedulerClass("DPMSolverMultistepScheduler", _FLOW, frozenset(), "flow_shift", False, "exponential")
_UNIPC = SchedulerClass("UniPCMultistepScheduler", _FLOW, frozenset(), "flow_shift", False)


_FLOW_MATCH = {
    "dpmpp_2m_flow": _DPMPP,
    "flow_match_euler": _flow_match("EulerDiscrete", frozenset({"sigmas"})),
    "flow_match_euler_beta": _flow_match("EulerDiscrete", use_beta_sigmas=True),
    "flow_match_euler_exponential": _flow_match("EulerDiscrete", use_exponential_sigmas=True),
    "flow_match_euler_karras": _flow_match("EulerDiscrete", use_karras_sigmas=True),
    "flow_match_heun": _flow_match("HeunDiscrete")._replace(takes_mu="none"),
    "flow_match_lcm": _flow_match("LCM", frozenset({"sigmas"})),
    "unipc_flow": _UNIPC,
}

SCHEDULERS: dict[str, SchedulerClass] = dict(sorted({**_DIFFUSION, **_FLOW_MATCH}.items()))
#: Names of those for models that were trained to predict noise, or ``v``.
DIFFUSION_SCHEDULERS = tuple(sorted(_DIFFUSION))
#: Names of those for models that were trained to match a flow.
FLOW_MATCH_SCHEDULERS = tuple(sorted(_FLOW_MATCH))


def schedulers_of(facts: FamilyFacts, config: Config | None = None) -> tuple[str, ...]:
    """The names of those that models of a family can use; ``config`` is a model's scheduler config."""
    own = FLOW_MATCH_SCHEDULERS if facts.matches_flow else DIFFUSION_SCHEDULERS
    names = (name for name in own if name not in facts.unused_schedulers)
    return tuple(name for name in names if shift_problem(name, facts, config) is None)


def shift_problem(scheduler: str, facts: FamilyFacts, config: Config | None) -> str | None:
    """Why a scheduler of a family cannot shift as a model with this scheduler config does, as the end of a
    sentence. None: it can, or the config is not known.

    diffusers' pipelines give ``mu`` where the config says so, and those of some families to every model.
    """
    if config is None or not facts.matches_flow:
        return None
    is_dynamic, takes_mu = bool(config.get("use_dynamic_shifting")), SCHEDULERS[scheduler].takes_mu
    if takes_mu == "none" and is_dynamic:
        return "it cannot shift by the image's size, as this model's scheduler does"
    is_exponential = is_dynamic and config.get("time_shift_type", "exponential") == "exponential"
    if takes_mu == "exponential" and not is_exponential and (is_dynamic or facts.always_gives_mu):
        return "it needs a model whose scheduler shifts by the image's size, and exponentially"
    return None


#: By the noise that a model was trained with: the largest number of steps for which the first two timesteps
#: of a multistep scheduler's beta schedule differ. It depends on rounding to the last bit, so it is measured.
_BETA_STEPS: dict[tuple[str, ...], int] = {
    ("scaled_linear", "0.00085", "0.012", "1000"): 31,  # Stable Diffusion
    ("scaled_linear", "0.00085", "0.02", "1000"): 23,  # the embedded model
}


class StepLimits(NamedTuple):
    """How many steps a scheduler supports when it chooses the timesteps."""

    min_steps: int = 1
    max_steps: int = MAX_STEPS


def step_limits(
    scheduler: str, config: Mapping[str, Any] | None, *, sets_begin_index: bool = False
) -> StepLimits:
    """The limits of ``num_inference_steps`` that are certain without torch, for a scheduler ``config``.

    ``None`` is an unknown config, of which nothing is certain. Within these limits the worker decides, before
    the first step (`workers.unet.timesteps.dry_run`). ``sets_begin_index``: for a job that starts from an
    image, whose ``strength`` says where the scheduler begins, or of a family whose pipeline says it.
    """
    if config is None:
        return StepLimits()
    kind, trained = SCHEDULERS[scheduler].name, _count(config, "num_train_timesteps", MAX_STEPS)
    if kind in ("LCMScheduler", "TCDScheduler"):
        return StepLimits(max_steps=min(_count(config, "original_inference_steps", 50), trained))
    if kind == "PNDMScheduler" and not config.get("skip_prk_steps", False):
        return StepLimits(min_steps=4)  # its Runge-Kutta start needs so many
    if kind in ("DDIMScheduler", "DDPMScheduler"):
        return StepLimits(max_steps=min(trained, MAX_STEPS))
    base, _, noise = scheduler.rpartition("_")
    if (
        noise == "beta"
        and base in _MULTISTEP
        and not sets_begin_index
        and not config.get("rescale_betas_zero_snr")
    ):
        names = ("beta_schedule", "beta_start", "beta_end", "num_train_timesteps")
        most = _BETA_STEPS.get(tuple(str(config.get(name)) for name in names), MAX_STEPS)
        return StepLimits(max_steps=MAX_STEPS if config.get("trained_betas") else most)
    return StepLimits()


def _count(config: Mapping[str, Any], name: str, default: int) -> int:
    """A number of the config; the default if it is invalid, which the worker reports."""
    value = config.get(name, default)
    return value if isinstance(value, int) and value > 0 else default
