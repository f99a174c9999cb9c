"""The residual transport: residuals and the inputs of steps, over a Redis of their own.

Every key expires, every wait has a deadline. Inputs that stay the same over the steps (embeddings,
control images) lie there once, named by their content, so any worker can serve any step.
"""

import hashlib
from typing import TYPE_CHECKING, Any

from torch import Tensor

from shared.errors import InputsMissing
from shared.settings import Settings
from workers.residuals.messages import Answer, StepRequest
from workers.residuals.wire import pack, unpack

if TYPE_CHECKING:
    from redis import Redis


def _input(key: str) -> str:
    return f"swift:input:{key}"


def _answers(request: StepRequest) -> str:
    return f"swift:residuals:{request.job_id}:{request.attempt}:{request.step}"


class Transport:
    """Both ends of the way; safe to use from several threads."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self._redis = redis
        self._ttl_s = settings.residual_ttl_s
        self._input_ttl_s = settings.input_ttl_s

    # --- the UNet worker's end -------------------------------------------------------------------

    def put_input(self, tensor: Tensor) -> str:
        """Lay a tensor down for all steps of a job; returns its key, which is its content's hash."""
        frame = pack({}, tensor)
        key = hashlib.sha256(frame).hexdigest()
        if not self._redis.expire(_input(key), self._input_ttl_s):
            self._redis.set(_input(key), frame, ex=self._input_ttl_s)
        return key

    def receive(self, request: StepRequest, timeout_s: float) -> list[tuple[Answer, Tensor | None]]:
        """What has come back of a step, at least one residual; empty after ``timeout_s``."""
        answer: Any = self._redis.blmpop(
            max(timeout_s, 0.01), 1, _answers(request), direction="LEFT", count=64
        )
        received = []
        for value in answer[1] if answer else ():
            head, tensor = unpack(value)
            received.append((Answer.model_validate(head), tensor))
        return received

    # --- the ControlNet worker's end -----------------------------------------------------------

    def get_input(self, key: str) -> Tensor:
        """A tensor that was laid down; raises `InputsMissing`."""
        value: Any = self._redis.getex(_input(key), ex=self._input_ttl_s)
        if value is None:
            raise InputsMissing(f"the residual server does not hold input {key[:12]} (any more)")
        tensor = unpack(value)[1]
        assert tensor is not None, "an input is a tensor"
        return tensor

    def answer(self, request: StepRequest, answer: Answer, tensor: Tensor | None) -> int:
        """Hand over one residual, or an error; returns the bytes sent."""
        frame = pack(answer.model_dump(), tensor)
        pipe = self._redis.pipeline(transaction=False)
        pipe.rpush(_answers(request), frame)
        pipe.expire(_answers(request), self._ttl_s)
        pipe.execute()
        return len(frame)
