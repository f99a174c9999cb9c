"""How many steps a job has, and whether its scheduler can make them."""

from collections.abc import Mapping
from typing import Any

from api.schemas.job_request import JobRequest
from shared.catalog.schedulers import SCHEDULERS, step_limits
from shared.errors import InvalidRequest
from shared.families.base import FamilyFacts

#: Fields that say where the steps lie, in place of how many there are.
OVERRIDES = ("timesteps", "sigmas")


def check_steps(
    request: JobRequest,
    scheduler: str,
    scheduler_config: Mapping[str, Any] | None,
    *,
    default: int,
    limit: int,
    facts: FamilyFacts | None = None,
) -> int:
    """``num_inference_steps`` of the job, at most ``limit``, as is ``default``; raises `InvalidRequest`.

    ``scheduler_config`` is the model's, as are ``facts``, if its family is known. The worker checks what
    depends on the computed timesteps.
    """
    _check_accepted(request, scheduler)
    override = next((field for field in OVERRIDES if getattr(request, field) is not None), None)
    steps = request.num_inference_steps or min(default, limit)
    if override is not None:
        _check_override(request, override)
        steps = _count(request, is_flow=SCHEDULERS[scheduler].matches_flow)
    if steps > limit:
        detail = f"num_inference_steps is {steps}, the limit is {limit}"
        raise InvalidRequest(detail, field=override or "num_inference_steps")
    least, most = step_limits(scheduler, scheduler_config, sets_begin_index=_sets_begin_index(request, facts))
    if override is None and not least <= steps <= most:
        detail = f"scheduler {scheduler!r} takes {least} to {most} steps with this model, not {steps}"
        raise InvalidRequest(f"num_inference_steps: {detail}", field="num_inference_steps")
    return steps


def _sets_begin_index(request: JobRequest, facts: FamilyFacts | None) -> bool:
    is_set = facts is not None and facts.sets_begin_index(has_controlnets=bool(request.controlnets))
    return is_set or request.image is not None


def _count(request: JobRequest, *, is_flow: bool) -> int:
    """The number of steps whose places the request gives; raises `InvalidRequest` for wrong sigmas."""
    if request.timesteps is not None:
        return len(request.timesteps)
    sigmas = request.sigmas or []
    if not is_flow:
        if len(sigmas) < 2:
            raise InvalidRequest("sigmas are at least two: the last is where it ends", field="sigmas")
        return len(sigmas) - 1
    if not all(0 < sigma <= 1 for sigma in sigmas):
        detail = "sigmas of flow matching are above 0 and at most 1, one for each step: the end is no step"
        raise InvalidRequest(detail, field="sigmas")
    return len(sigmas)


def _check_override(request: JobRequest, override: str) -> None:
    """Steps are given in one way."""
    if request.timesteps is not None and request.sigmas is not None:
        raise InvalidRequest("a job has either timesteps or sigmas", field="sigmas")
    if request.num_inference_steps is not None:
        detail = f"{override} and num_inference_steps both say how many steps there are"
        raise InvalidRequest(detail, field="num_inference_steps")


def _check_accepted(request: JobRequest, scheduler: str) -> None:
    """A field that the scheduler would ignore is an error."""
    for field, is_given in (
        ("timesteps", request.timesteps is not None),
        ("sigmas", request.sigmas is not None),
        ("eta", request.eta > 0),
    ):
        if is_given and field not in SCHEDULERS[scheduler].takes:
            able = ", ".join(name for name, kind in SCHEDULERS.items() if field in kind.takes)
            raise InvalidRequest(f"scheduler {scheduler!r} takes no {field}; these do: {able}", field=field)
