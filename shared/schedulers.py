"""Schedulers by their field names: which diffusers class each is, with which options, and what it takes.

Names are those of diffusers' own table (docs/api/schedulers/overview), with its noise schedules as
suffixes. Tests hold all of this against diffusers itself. Left out: classes made for other models
(EDM's preconditioning, flow matching, IPNDM's own timesteps), the parallel variants of DDIM and DDPM,
which draw the same, and ``DPMSolverSDE``: its noise comes from ``torchsde`` (no release since 2023) and
not from the pipeline's generators, so a seed does not decide the picture.
"""

from typing import Any, NamedTuple

_TIMESTEPS = frozenset({"timesteps"})


class SchedulerClass(NamedTuple):
    """A class of ``diffusers`` and what overrides the model's own scheduler config.

    ``takes`` names the fields of a job that not every scheduler knows: ``timesteps`` and ``sigmas`` in
    place of a number of steps, and ``eta``.
    """

    name: str
    options: dict[str, Any]
    takes: frozenset[str] = frozenset()
    min_steps: int = 1
    max_steps: int = 1000


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
    "lcm": SchedulerClass("LCMScheduler", {}, _TIMESTEPS, max_steps=50),
    "lms": SchedulerClass("LMSDiscreteScheduler", {}),
    "pndm": SchedulerClass("PNDMScheduler", {}, min_steps=4),
    "sa_solver": SchedulerClass("SASolverScheduler", {}),
    "tcd": SchedulerClass("TCDScheduler", {}, frozenset({"timesteps", "eta"}), max_steps=50),
    "unipc": SchedulerClass("UniPCMultistepScheduler", {}),
}
#: Whole timesteps are their currency: more of the beta schedule's would fall together at its ends.
_BETA_STEPS = dict.fromkeys(("deis", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_sde", "sa_solver", "unipc"), 31)
#: Those that can lay their steps by another noise schedule.
_SCHEDULED = [*_BETA_STEPS, "dpm2", "dpm2_a", "euler", "heun", "lms"]


def _scheduled(name: str, max_steps: int = 1000, **options: Any) -> SchedulerClass:
    """A noise schedule decides the timesteps: nobody else can."""
    plain = _PLAIN[name]
    return plain._replace(
        options=plain.options | options, takes=plain.takes - _TIMESTEPS, max_steps=max_steps
    )


def _linspace(name: str) -> dict[str, Any]:
    """What diffusers' table adds to these schedules; the singlestep solver knows nothing else."""
    return {} if name == "dpmpp_sde" else {"timestep_spacing": "linspace"}


_KARRAS = {f"{name}_karras": _scheduled(name, use_karras_sigmas=True) for name in _SCHEDULED}
_EXPONENTIAL = {
    f"{name}_exponential": _scheduled(name, use_exponential_sigmas=True, **_linspace(name))
    for name in _SCHEDULED
}
_BETA = {
    f"{name}_beta": _scheduled(name, _BETA_STEPS.get(name, 1000), use_beta_sigmas=True, **_linspace(name))
    for name in _SCHEDULED
}
_LU = {f"{name}_lu": _scheduled(name, use_lu_lambdas=True) for name in ("dpmpp_2m", "dpmpp_2m_sde")}

SCHEDULERS: dict[str, SchedulerClass] = dict(
    sorted({**_PLAIN, **_KARRAS, **_EXPONENTIAL, **_BETA, **_LU}.items())
)
