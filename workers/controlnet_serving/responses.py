"""The responses to steps: headers of residuals, and of errors in their place."""

import time
from collections.abc import Sequence

from redis.exceptions import RedisError

from shared.errors import ControlNetFailed, ResidualLost, SwiftError
from shared.jobs.receipt import Platform
from workers.controlnet_serving.aggregate import AggregatedResidual
from workers.transport.protocol import StepResponse
from workers.transport.step_queue import ClaimedStep


def residual_response(
    aggregated: AggregatedResidual, index: int, worker: str, platform: Platform | None
) -> StepResponse:
    """The header of residual ``index``; its times are not known before the device has computed it.

    ``platform``: of this worker, where the asking worker has another one.
    """
    response, used = _response(aggregated.steps, index, worker), aggregated.used
    if platform is not None:
        used = {position: one.model_copy(update={"platform": platform}) for position, one in used.items()}
    return response.model_copy(update={"batch": aggregated.batch, "used": used})


def error_response(step: ClaimedStep, error: Exception, worker: str) -> StepResponse:
    """What is sent in place of all residuals of a step that failed."""
    response = _response([step], 0, worker)
    return response.model_copy(
        update={"error": _code_of(error), "detail": f"{type(error).__name__}: {error}"}
    )


def _code_of(error: Exception) -> str:
    if isinstance(error, SwiftError):
        return error.code
    # A server that was away for a while says nothing of the step: it is asked for again.
    return ResidualLost.code if isinstance(error, RedisError) else ControlNetFailed.code


def _response(steps: Sequence[ClaimedStep], index: int, worker: str) -> StepResponse:
    now = time.time()
    return StepResponse(
        index=index,
        positions=[step.part.position for step in steps],
        retry=steps[0].request.retry,
        start_s=now,
        end_s=now,
        worker=worker,
    )
