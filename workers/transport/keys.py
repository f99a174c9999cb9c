"""Names of the keys at the residual servers; `shared.keys.controlnet_steps` names the queues.

All of them begin with `shared.keys.TRANSPORT`, which holds the version of the transport's messages, so
workers of two versions neither read nor serve each other's steps.
"""

from shared.keys import TRANSPORT
from workers.transport.protocol import StepRequest


def step_token_key(job_id: str) -> str:
    """String: the step token of the job's current step request."""
    return f"{TRANSPORT}:step_token:{job_id}"


def request_key(job_id: str) -> str:
    """String: the current step request and its latents, as a frame."""
    return f"{TRANSPORT}:request:{job_id}"


def claims_key(job_id: str) -> str:
    """Hash: who computes which part of the current step, by the ControlNet's position.

    ``CLAIMANT:CALL``, where the random ``CALL`` names the call that has claimed it; a requester names none
    for what it computes itself from the beginning.
    """
    return f"{TRANSPORT}:claims:{job_id}"


def overdue_key(controlnet: str, platform: str) -> str:
    """List: steps of a queue of `shared.keys.controlnet_steps` that workers with a job shall serve, too."""
    return f"{TRANSPORT}:overdue:{platform}:{controlnet}"


def lease_key(claimant: str) -> str:
    """String: exists while this claimant renews its lease. Ends in the claimant's name."""
    return f"{TRANSPORT}:lease:{claimant}"


def served_key(controlnet: str, platform: str) -> str:
    """String: exists while some worker has lately taken from this queue of `shared.keys.controlnet_steps`.

    Also while one loads the ControlNet for it.
    """
    return f"{TRANSPORT}:served:{platform}:{controlnet}"


def wake_key(claimant: str) -> str:
    """List: something while this claimant is to stop waiting for steps. Ends in the claimant's name."""
    return f"{TRANSPORT}:wake:{claimant}"


def input_key(key: str) -> str:
    """String: a tensor that stays the same over the steps, by the hash of its content."""
    return f"{TRANSPORT}:input:{key}"


#: Sorted set: names of the embeddings below, by their expiry in seconds since the epoch.
EMBEDDING_INDEX = f"{TRANSPORT}:embedding_index"
#: Hash: bytes of each of them; the field '' has their sum.
EMBEDDING_SIZES = f"{TRANSPORT}:embedding_sizes"


def embedding_key(name: str) -> str:
    """String: what text encoders made of a prompt, by the hash of everything that decides it, as a frame."""
    return f"{TRANSPORT}:embedding:{name}"


def encoding_responses_key(name: str) -> str:
    """List: what the worker says that was asked to encode a prompt (`EncodePrompt.responses`)."""
    return f"{TRANSPORT}:encoding:{name}"


def responses_key(request: StepRequest) -> str:
    """List: the responses to a step, as frames."""
    return f"{TRANSPORT}:responses:{request.job_id}:{request.attempt}:{request.step}"


def checkpoint_key(job_id: str) -> str:
    """Hash: the newest checkpoint of a job's denoising loop, and which attempt may write it."""
    return f"{TRANSPORT}:checkpoint:{job_id}"


def job_of_checkpoint(key: str) -> str:
    """The job of a `checkpoint_key`."""
    return key.rpartition(":")[2]


def cfg_claim_key(job_id: str, attempt: str, channel: str) -> str:
    """String: the worker that follows the attempt (CFG parallelism) and, behind a space, a random text that
    names the call which has claimed it. In the arguments ``*`` matches any name.
    """
    return f"{TRANSPORT}:cfg_claim:{job_id}:{attempt}:{channel}"


def cfg_steps_key(job_id: str, attempt: str, channel: str) -> str:
    """List: steps whose unconditional branch the follower shall predict, as frames."""
    return f"{TRANSPORT}:cfg_steps:{job_id}:{attempt}:{channel}"


def cfg_predictions_key(job_id: str, attempt: str, channel: str) -> str:
    """List: the follower's responses, as frames."""
    return f"{TRANSPORT}:cfg_predictions:{job_id}:{attempt}:{channel}"


def payload_key(request: StepRequest, index: int, nonce: str) -> str:
    """Strings, one a chunk: the payload of one residual, sent once under the random ``nonce``."""
    return f"{TRANSPORT}:payload:{request.job_id}:{request.step}:{index}:{nonce}"
