"""Schedulers by name: the diffusers class of each, its options, and the fields of a job that it supports.

Names are those of diffusers' own table (docs/api/schedulers/overview), with its noise schedules as
suffixes. Tests compare all of this with diffusers itself. Left out are classes made for other models
(EDM's preconditioning, flow matching, IPNDM's own timesteps), the parallel variants of DDIM and DDPM,
which give the same images, and ``DPMSolverSDE``: its noise comes from ``torchsde`` (no release since 2023)
and not from the pipeline's generators, so that a seed does not determine the image.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

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

SCHEDULERS: dict[str, SchedulerClass] = dict(
    sorted({**_PLAIN, **_KARRAS, **_EXPONENTIAL, **_BETA, **_LU}.items())
)

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


def step_limits(scheduler: str, config: Mapping[str, Any] | None, *, has_image: bool = False) -> StepLimits:
    """The limits of ``num_inference_steps`` that are certain without torch, for a scheduler ``config``.

    ``None`` is an unknown config, of which nothing is certain. Within these limits the worker decides, before
    the first step (`workers.unet.timesteps.dry_run`). ``has_image``: for a job that starts from an image;
    its ``strength`` determines the first timestep.
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
    if noise == "beta" and base in _MULTISTEP and not has_image and not config.get("rescale_betas_zero_snr"):
        names = ("beta_schedule", "beta_start", "beta_end", "num_train_timesteps")
        most = _BETA_STEPS.get(tuple(str(config.get(name)) for name in names), MAX_STEPS)
        return StepLimits(max_steps=MAX_STEPS if config.get("trained_betas") else most)
    return StepLimits()


def _count(config: Mapping[str, Any], name: str, default: int) -> int:
    """A number of the config; the default if it is invalid, which the worker reports."""
    value = config.get(name, default)
    return value if isinstance(value, int) and value > 0 else default
