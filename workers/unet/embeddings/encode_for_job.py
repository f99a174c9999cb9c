"""The Celery task ``unet.encode``: an idle worker encodes a prompt for one without text encoders."""

from contextlib import ExitStack

from shared.logs import log_fields
from workers.families.base import BaseModel
from workers.transport.keys import encoding_responses_key
from workers.unet.embeddings.key import embeddings_key
from workers.unet.embeddings.messages import REFUSED, STORED, TAKEN, EncodePrompt
from workers.unet.restore_weights import restore_weights_on_error
from workers.unet.worker import UNetWorker

#: Nobody reads a response later.
RESPONSE_S = 60


def encode_for_job(worker: UNetWorker, message: EncodePrompt) -> str:
    """Encode the prompt of a job that another worker runs, and store its embeddings; returns the outcome.

    The job has no LoRAs: a worker whose job has some holds the text encoders itself.
    """
    outcome = "failed"
    try:
        outcome = _encode(worker, message)
    finally:
        _respond(worker, message, STORED if outcome == "encoded" else REFUSED)
    return outcome


def _encode(worker: UNetWorker, message: EncodePrompt) -> str:
    if not worker.jobs.is_held(message.job_id, message.attempt):
        return "attempt over"
    job = worker.jobs.get(message.job_id)
    spec = job.spec
    if spec.loras:
        return "has LoRAs"
    with ExitStack() as stack:
        stack.enter_context(log_fields(job=job.id, attempt=message.attempt, tenant=job.tenant))
        stack.enter_context(worker.device_loss.translate_errors())
        limit_s = worker.settings.job_timeout_s
        stack.enter_context(worker.watchdog.limit(f"encoding for job {message.job_id}", limit_s))
        stack.enter_context(worker.activity.serve)
        model = stack.enter_context(worker.models.use_loaded(spec.model))
        if model is None or not model.has_text_encoders:
            return "not loaded"
        stack.enter_context(worker.models.memory.release_when_full())
        stack.enter_context(restore_weights_on_error(worker, model))
        _unpatch_text_encoders(model)
        if embeddings_key(model, spec) != message.key:
            return "would compute other bits"
        _respond(worker, message, TAKEN)
        worker.prompts.encode_prompt(model, spec, worker.device)
        worker.prompts.wait_until_stored()
    return "encoded"


def _unpatch_text_encoders(model: BaseModel) -> None:
    """Take LoRAs of an earlier job back if they have trained a text encoder."""
    if model.patcher.contents(model.text_parts) != []:
        model.patcher.restore()
        model.patched_with = set()


def _respond(worker: UNetWorker, message: EncodePrompt, response: bytes) -> None:
    key = encoding_responses_key(message.responses)
    pipe = worker.residual.pipeline(transaction=False)
    pipe.rpush(key, response)
    pipe.expire(key, RESPONSE_S)
    pipe.execute()
