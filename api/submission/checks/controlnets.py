"""Whether the ControlNets of a request can do what it asks of them."""

from api.schemas.job_request import ControlNetRequest, JobRequest
from api.services import Services
from api.submission.checks.known_names import known_name
from shared.errors import InvalidRequest
from shared.families.controlnets import ControlNetTraits
from shared.jobs.families.controlnet_masks import check_masks


def check_controlnets(request: JobRequest, services: Services, model: str) -> bool:
    """Check the request's ControlNets; returns the job's ``guess_mode``. Raises `InvalidRequest`.

    What their family's facts say of all of them has been checked (`shared.jobs.families.checks`).

    As in diffusers, a first ControlNet with global pooling puts the whole job into guess mode. A ControlNet
    whose traits are not known here is checked by its worker.
    """
    guess_mode = request.guess_mode
    for i, controlnet in enumerate(request.controlnets):
        _check_fit(controlnet, services, model, field=f"controlnets.{i}.name")
        traits = services.families.controlnet(controlnet.name)
        _check_mode(controlnet, traits, field=f"controlnets.{i}.control_mode")
        _check_sum(request, services, i)
        guess_mode |= i == 0 and traits is not None and traits.global_pooling
    _check_masks(request, services, model)
    if guess_mode and not request.controlnets:
        raise InvalidRequest("guess_mode is about ControlNets, and the job has none", field="guess_mode")
    if guess_mode and any(controlnet.control_mode is not None for controlnet in request.controlnets):
        raise InvalidRequest("a ControlNet-Union has no guess_mode", field="guess_mode")
    return guess_mode


def _check_fit(controlnet: ControlNetRequest, services: Services, model: str, *, field: str) -> None:
    controlnets = services.catalog.controlnets
    bases = controlnets[known_name(controlnet.name, controlnets, "ControlNet", field=field)].models
    if model not in bases:
        served = f"model {', '.join(map(repr, bases))}"
        detail = f"ControlNet {controlnet.name!r} was trained for {served}, not for {model!r}"
        raise InvalidRequest(detail, field=field)
    why = services.families.incompatibility(controlnet.name, model)
    if why is not None:
        raise InvalidRequest(why, field=field)


def _check_sum(request: JobRequest, services: Services, position: int) -> None:
    """What several ControlNets of a job give is summed, so they must give the same residuals."""
    first, name = (request.controlnets[i].name for i in (0, position))
    ours, theirs = services.families.controlnet(first), services.families.controlnet(name)
    if ours is None or theirs is None:
        return
    given = [traits.layout or f"{len(traits.residuals)} residuals" for traits in (theirs, ours)]
    if ours.residuals == theirs.residuals and given[0] == given[1]:
        return
    detail = f"ControlNet {name!r} gives {given[0]}, {first!r} {given[1]}: one job cannot have both"
    raise InvalidRequest(detail, field=f"controlnets.{position}.name")


def _check_masks(request: JobRequest, services: Services, model: str) -> None:
    """Whether each ControlNet fits the job's mask, and has an image, its own or the job's."""
    facts, has_mask = services.families.facts(model), request.mask_image is not None
    traits = [services.families.controlnet(one.name) for one in request.controlnets]
    if facts is not None:
        check_masks(request.controlnets, traits, facts, has_mask=has_mask)
    for i, (one, own) in enumerate(zip(request.controlnets, traits, strict=True)):
        # Of one whose traits are not known the worker checks that the job's image is what it is shown.
        if own is None:
            may_inpaint = facts is None or facts.mask_reader != "base_model"
        else:
            may_inpaint = own.mask == "required"
        shows_jobs_image = has_mask and may_inpaint
        if one.image is None and not shows_jobs_image:
            raise InvalidRequest(f"ControlNet {one.name!r} needs an image", field=f"controlnets.{i}.image")


def _check_mode(controlnet: ControlNetRequest, traits: ControlNetTraits | None, *, field: str) -> None:
    if traits is None:
        return
    kinds, mode = traits.control_types, controlnet.control_mode
    if not kinds and mode is not None:
        raise InvalidRequest(
            f"ControlNet {controlnet.name!r} is no union: it has no control_mode", field=field
        )
    if kinds and (mode is None or mode >= kinds):
        detail = f"ControlNet {controlnet.name!r} is a union: its control_mode is 0 to {kinds - 1}"
        raise InvalidRequest(detail, field=field)
