"""Names of the keys at the residual servers, beside the queues that `shared.keys` names."""

from workers.transport.protocol import StepRequest


def step_token_key(job_id: str) -> str:
    """String: the turn the job is at."""
    return f"swift:turn:{job_id}"


def input_key(key: str) -> str:
    """String: a tensor that stays the same over the steps, by the hash of its content."""
    return f"swift:input:{key}"


def responses_key(request: StepRequest) -> str:
    """List: what comes back of a step."""
    return f"swift:residuals:{request.job_id}:{request.attempt}:{request.step}"


def payload_key(request: StepRequest, index: int, once: str) -> str:
    """Strings, one a chunk: the bytes of one residual, of the answer with the random token ``once``."""
    return f"swift:body:{request.job_id}:{request.step}:{index}:{once}"
