"""Whether a job's model shifts the sigmas of flow matching as the job asks for."""

from shared.errors import InvalidRequest
from shared.jobs.families.asked_job import AskedJob, KnownModel


def check_shift(job: AskedJob, model: KnownModel) -> None:
    """Raise `InvalidRequest` for a shift that the scheduler would ignore, or that no pipeline can give it."""
    if model.scheduler_config is None:
        return
    facts, options = model.facts, job.options
    is_dynamic = bool(model.scheduler_config.get("use_dynamic_shifting"))
    if options.shift is not None and is_dynamic:
        detail = f"the scheduler of model {model.name!r} shifts by the image's size: it has no static shift"
        raise InvalidRequest(detail, field="shift")
    if is_dynamic and "mu" in facts.fields - facts.fields_in(job.mode, has_controlnets=job.has_controlnets):
        detail = f"the scheduler of {model.named} shifts by the image's size: diffusers cannot do that"
        raise InvalidRequest(f"{detail} with ControlNets", field="controlnets")
    if options.mu is not None and not is_dynamic:
        detail = f"the scheduler of model {model.name!r} has a static shift: it takes no mu"
        raise InvalidRequest(detail, field="mu")
