"""Messages about steps of no job, for measuring how residuals travel."""

from workers.transport.protocol import StepRequest, StepResponse
from workers.transport.transport import ResidualTransport


def request_residuals(transport: ResidualTransport, job_id: str, step: int) -> StepRequest:
    """A request that asks for nothing to be computed; the answers come to ``transport``."""
    return StepRequest(
        job_id=job_id,
        attempt="first",
        ordinal=1,
        step=step,
        retry=0,
        t=0.0,
        inputs={},
        parts=[],
        rows=2,
        batch_key="",
        reachable_by=transport.announce(),
    )


def residual_response(index: int) -> StepResponse:
    """The header of residual ``index``, of one ControlNet, that was computed in no time."""
    return StepResponse(index=index, positions=[0], retry=0, start_s=0.0, end_s=0.0, worker="controlnet1")
