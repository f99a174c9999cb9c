"""What a model does not take of what its family does: by its own configs, whatever a job asks for."""

from shared.families.base import Mode
from shared.jobs.families.asked_job import KnownModel


def unused_fields(model: KnownModel) -> dict[str, str]:
    """Those of `FamilyFacts.fields` that the model would ignore, each with the reason, as a sentence."""
    return {**_of_missing_parts(model), **_of_scheduler(model)}


def fields_of(model: KnownModel) -> frozenset[str]:
    """Those of `FamilyFacts.fields` that jobs of the model may set."""
    return model.facts.fields - unused_fields(model).keys()


def controlnet_fields_of(model: KnownModel, mode: Mode) -> frozenset[str]:
    """The same of jobs with ControlNets that generate from ``mode``."""
    return fields_of(model) & model.facts.fields_in(mode, has_controlnets=True)


def modes_of(model: KnownModel) -> frozenset[Mode]:
    """What jobs of the model may generate from."""
    return model.facts.modes & {"mask"} if model.is_inpainting else model.facts.modes


def controlnet_modes_of(model: KnownModel) -> frozenset[Mode]:
    """The same of jobs with ControlNets."""
    modes = model.facts.controlnet_modes & modes_of(model)
    return frozenset(mode for mode in modes if not lacks_mu(model, mode))


def _of_missing_parts(model: KnownModel) -> dict[str, str]:
    return {
        field: f"model {model.name!r} has no {part}: nothing reads {field}"
        for part in model.missing_parts
        for field in model.facts.part_fields.get(part, ())
    }


def _of_scheduler(model: KnownModel) -> dict[str, str]:
    if model.scheduler_config is None:
        return {}
    scheduler = f"the scheduler of model {model.name!r}"
    if shifts_by_size(model):
        return {"shift": f"{scheduler} shifts by the image's size: it has no static shift"}
    return {"mu": f"{scheduler} has a static shift: it takes no mu"}


def shifts_by_size(model: KnownModel) -> bool:
    """Whether the model's scheduler is known to shift its sigmas by the size of the image."""
    return bool((model.scheduler_config or {}).get("use_dynamic_shifting"))


def lacks_mu(model: KnownModel, mode: Mode) -> bool:
    """Whether the scheduler needs a ``mu`` that diffusers' pipeline with ControlNets cannot give it."""
    taken = model.facts.fields_in(mode, has_controlnets=True)
    return shifts_by_size(model) and "mu" in model.facts.fields - taken
