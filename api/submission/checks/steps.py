"""How many steps a job asks for, and whether its scheduler can make them."""

from collections.abc import Mapping
from typing import Any

from api.schemas.job_request import JobRequest
from shared.catalog.entries import ModelEntry
from shared.catalog.schedulers import SCHEDULERS, step_limits
from shared.errors import InvalidRequest

#: Fields that say where the steps lie, in place of how many there are.
OVERRIDES = ("timesteps", "sigmas")


def resolve_steps(request: JobRequest, model: ModelEntry, scheduler: str) -> int:
    """``num_inference_steps`` of the job; raises `InvalidRequest` for what ``scheduler`` does not take."""
    _check_taken(request, scheduler)
    given = [field for field in OVERRIDES if getattr(request, field) is not None]
    if not given:
        return request.num_inference_steps or model.num_inference_steps
    if len(given) > 1:
        raise InvalidRequest("a job has either timesteps or sigmas", field="sigmas")
    if request.num_inference_steps is not None:
        detail = f"{given[0]} and num_inference_steps both say how many steps there are"
        raise InvalidRequest(detail, field="num_inference_steps")
    return len(request.timesteps) if request.timesteps else len(request.sigmas or []) - 1


def check_number(request: JobRequest, scheduler: str, steps: int, config: Mapping[str, Any] | None) -> None:
    """Some schedulers cannot make every number of timesteps of their own; raises `InvalidRequest`.

    ``config`` is the model's scheduler config. What depends on more than its words, the worker checks.
    """
    if any(getattr(request, field) is not None for field in OVERRIDES):
        return
    least, most = step_limits(scheduler, config, has_image=request.image is not None)
    if not least <= steps <= most:
        detail = f"scheduler {scheduler!r} takes {least} to {most} steps with this model, not {steps}"
        raise InvalidRequest(f"num_inference_steps: {detail}", field="num_inference_steps")


def _check_taken(request: JobRequest, scheduler: str) -> None:
    """A field that the scheduler would ignore is a mistake."""
    for field, given in (
        ("timesteps", request.timesteps is not None),
        ("sigmas", request.sigmas is not None),
        ("eta", request.eta > 0),
    ):
        if given and field not in SCHEDULERS[scheduler].takes:
            able = ", ".join(name for name, kind in SCHEDULERS.items() if field in kind.takes)
            raise InvalidRequest(f"scheduler {scheduler!r} takes no {field}; these do: {able}", field=field)
