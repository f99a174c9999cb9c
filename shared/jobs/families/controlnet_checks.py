"""Whether the ControlNets of a model's family can guide a job, as far as the family's facts say it."""

from shared.errors import InvalidRequest
from shared.jobs.families.asked_job import AskedJob, KnownModel
from shared.jobs.families.words import modes_in_words


def check_controlnets(job: AskedJob, model: KnownModel) -> None:
    """Raise `InvalidRequest` where diffusers has no pipeline for the job's ControlNets."""
    if not job.has_controlnets:
        return
    facts, names = model.facts, job.controlnets
    mask_reader = facts.mask_reader if job.mode == "mask" else "base_model"
    if job.mode not in facts.controlnet_modes:
        modes = modes_in_words(facts.controlnet_modes)
        detail = f"ControlNets of {facts.label} guide jobs from {modes}: model {model.name!r} is one"
        raise InvalidRequest(detail, field="controlnets")
    if facts.max_controlnets is not None and len(names) > facts.max_controlnets:
        detail = f"{facts.label} takes at most {facts.max_controlnets} of them, and the job has {len(names)}"
        raise InvalidRequest(detail, field="controlnets")
    if mask_reader == "one_controlnet" and len(names) > 1:
        detail = f"with a mask {facts.label} takes at most 1 of them, and the job has {len(names)}"
        raise InvalidRequest(detail, field="controlnets")
    if not facts.sums_controlnets and len(set(names)) > 1:
        known = ", ".join(sorted(set(names)))
        detail = f"a job of {facts.label} has one ControlNet, if with several images, and not {known}"
        raise InvalidRequest(detail, field="controlnets")
    if mask_reader != "base_model" and job.options.strength not in (None, 1.0):
        detail = f"with a ControlNet {facts.label} generates all of what a mask marks: strength is 1"
        raise InvalidRequest(detail, field="strength")
