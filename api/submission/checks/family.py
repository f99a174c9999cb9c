"""Whether the family of a request's model has what the request asks of it."""

from collections.abc import Iterable

from api.schemas.job_request import JobRequest
from api.services import Services
from api.submission.checks.known_names import listed
from shared.errors import InvalidRequest
from shared.families.base import FamilyFacts
from shared.families.registry import families
from shared.jobs.lora_scales import PartScales


def check_family(request: JobRequest, services: Services, model: str) -> None:
    """Raise `InvalidRequest` for what the model's family does not have.

    Nothing is checked if the family is not known before the model is loaded: the worker checks then.
    """
    facts = services.families.facts(model)
    if facts is None:
        return
    takers = _refused_fields(request, facts)
    if takers:
        first = next(iter(takers))
        detail = f"only {takers[first]} takes {listed(takers)}; model {model!r} is"
        raise InvalidRequest(f"{detail} {services.families.signature(model)}", field=first)
    syntax = request.prompt_syntax
    if syntax not in facts.prompt_syntaxes:
        known = _labels(other for other in families() if syntax in other.prompt_syntaxes)
        detail = f"prompt_syntax {syntax!r} is known to {known}; model {model!r} is {facts.label}"
        raise InvalidRequest(detail, field="prompt_syntax")
    for side, value in (("width", request.width), ("height", request.height)):
        if value is not None and value % facts.size_multiple:
            detail = f"{side} is {value}; of {facts.label} it must be a multiple of {facts.size_multiple}"
            raise InvalidRequest(detail, field=side)
    if services.families.is_inpainting(model) and request.mask_image is None:
        detail = f"model {model!r} was trained to inpaint: it needs an image and a mask_image"
        raise InvalidRequest(detail, field="mask_image")


def _refused_fields(request: JobRequest, facts: FamilyFacts) -> dict[str, str]:
    """Fields of the request that the family does not take, and the families that take each."""
    refused = {
        field: _labels(other for other in families() if field in other.fields)
        for field in request.family_fields
        if field not in facts.fields
    }
    for i, lora in enumerate(request.loras):
        scales = lora.scale.model_dump(exclude_defaults=True) if isinstance(lora.scale, PartScales) else {}
        for part in sorted(scales.keys() - set(facts.lora_parts)):
            takers = _labels(other for other in families() if part in other.lora_parts)
            refused[f"loras.{i}.scale.{part}"] = takers
    return refused


def _labels(takers: Iterable[FamilyFacts]) -> str:
    return " and ".join(dict.fromkeys(facts.label for facts in takers))
