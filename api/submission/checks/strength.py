"""How much of an input image a job generates anew."""

from api.schemas.job_request import JobRequest
from shared.catalog.schedulers import SCHEDULERS
from shared.errors import InvalidRequest


def check_strength(
    request: JobRequest, num_inference_steps: int, scheduler: str, *, default: float
) -> float | None:
    """The job's strength; raises `InvalidRequest` without an image, and if no step would be left to run."""
    if request.image is None:
        for field in ("mask_image", "strength"):
            if getattr(request, field) is not None:
                raise InvalidRequest(f"{field} needs an image", field=field)
        return None
    strength = default if request.strength is None else request.strength
    if SCHEDULERS[scheduler].skipped_steps(num_inference_steps, strength) >= num_inference_steps:
        detail = f"strength {strength} of {num_inference_steps} steps leaves none to run"
        raise InvalidRequest(detail, field="strength")
    return strength
