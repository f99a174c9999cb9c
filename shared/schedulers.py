"""Schedulers by their field names: which diffusers class each is, and with which options.

Names are those of diffusers' own table (docs/api/schedulers/overview). Left out: classes that need
another network (EDM's preconditioning) or a library of their own (DPMSolverSDE: torchsde), and the
parallel variants of DDIM and DDPM, which draw the same.
"""

from typing import Any, NamedTuple


class SchedulerClass(NamedTuple):
    """A class of ``diffusers`` and what overrides the model's own scheduler config."""

    name: str
    options: dict[str, Any]
    min_steps: int = 1
    max_steps: int = 1000


_KARRAS: dict[str, Any] = {"use_karras_sigmas": True}
_SDE: dict[str, Any] = {"algorithm_type": "sde-dpmsolver++"}

SCHEDULERS: dict[str, SchedulerClass] = {
    "ddim": SchedulerClass("DDIMScheduler", {}),
    "ddpm": SchedulerClass("DDPMScheduler", {}),
    "deis": SchedulerClass("DEISMultistepScheduler", {}),
    "dpm2": SchedulerClass("KDPM2DiscreteScheduler", {}),
    "dpm2_a": SchedulerClass("KDPM2AncestralDiscreteScheduler", {}),
    "dpm2_a_karras": SchedulerClass("KDPM2AncestralDiscreteScheduler", _KARRAS),
    "dpm2_karras": SchedulerClass("KDPM2DiscreteScheduler", _KARRAS),
    "dpmpp_2m": SchedulerClass("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": SchedulerClass("DPMSolverMultistepScheduler", _KARRAS),
    "dpmpp_2m_sde": SchedulerClass("DPMSolverMultistepScheduler", _SDE),
    "dpmpp_2m_sde_karras": SchedulerClass("DPMSolverMultistepScheduler", _SDE | _KARRAS),
    "dpmpp_sde": SchedulerClass("DPMSolverSinglestepScheduler", {}),
    "dpmpp_sde_karras": SchedulerClass("DPMSolverSinglestepScheduler", _KARRAS),
    "euler": SchedulerClass("EulerDiscreteScheduler", {}),
    "euler_a": SchedulerClass("EulerAncestralDiscreteScheduler", {}),
    "heun": SchedulerClass("HeunDiscreteScheduler", {}),
    "lcm": SchedulerClass("LCMScheduler", {}, max_steps=50),
    "lms": SchedulerClass("LMSDiscreteScheduler", {}),
    "lms_karras": SchedulerClass("LMSDiscreteScheduler", _KARRAS),
    "pndm": SchedulerClass("PNDMScheduler", {}, min_steps=4),
    "sa_solver": SchedulerClass("SASolverScheduler", {}),
    "tcd": SchedulerClass("TCDScheduler", {}, max_steps=50),
    "unipc": SchedulerClass("UniPCMultistepScheduler", {}),
}
