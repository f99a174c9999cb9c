"""Whether the LoRAs of a request go together, and with the steps at which they shall take effect."""

from api.schemas.job_request import JobRequest
from api.submission.checks.known_names import listed
from shared.errors import InvalidRequest


def check_loras(request: JobRequest, num_inference_steps: int) -> None:
    """Check names and steps; raises `InvalidRequest`. Whether the files exist is asked later."""
    names = [lora.name for lora in request.loras]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise InvalidRequest(f"LoRA {name!r} is named twice", field=f"loras.{i}.name")
    replay = request.lora_loading.steps
    if replay is None:
        return
    if set(replay) != set(names):
        detail = f"must name exactly the job's LoRAs: {listed(names) or 'none'}"
        raise InvalidRequest(detail, field="lora_loading.steps")
    for name, step in replay.items():
        if step > 2 * num_inference_steps:  # some schedulers have two timesteps for each step
            detail = f"step {step} lies behind the job's {num_inference_steps} inference steps"
            raise InvalidRequest(detail, field=f"lora_loading.steps.{name}")
