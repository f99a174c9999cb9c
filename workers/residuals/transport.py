"""The residual transport: step requests one way, residuals back, over a Redis of their own.

Every key expires, every wait has a deadline. Inputs that stay the same over the steps (embeddings,
control images) lie there once, named by their content, so any worker can serve any step.
"""

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from torch import Tensor

from shared.errors import InputsMissing
from shared.settings import Settings
from workers.residuals.messages import Answer, StepRequest
from workers.residuals.wire import pack, unpack

if TYPE_CHECKING:
    from redis import Redis

#: One blocking read of a serving loop; between two it can notice that it shall stop.
POLL_S = 1.0


def _steps(net: str) -> str:
    return f"swift:steps:{net}"


def _turn(job_id: str) -> str:
    return f"swift:turn:{job_id}"


def _input(key: str) -> str:
    return f"swift:input:{key}"


def _answers(request: StepRequest) -> str:
    return f"swift:residuals:{request.job_id}:{request.attempt}:{request.step}:{request.position}"


class Transport:
    """Both ends of the way; safe to use from several threads."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self._redis = redis
        source = resources.files("workers.residuals").joinpath("turn.lua").read_text()
        self._turn_script = redis.register_script(source)
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

    def send(self, requests: Sequence[StepRequest], x: Tensor) -> None:
        """Ask for one step of each net; ``x`` is the scaled model input, ``(b, c, h/f, w/f)``.

        All requests are of one turn: it becomes the job's current one, older ones are void.
        """
        pipe = self._redis.pipeline(transaction=False)
        first = requests[0]
        self._turn_script(
            keys=[_turn(first.job_id)], args=["take", first.ordinal, first.turn, self._ttl_s], client=pipe
        )
        for request in requests:
            pipe.rpush(_steps(request.net), pack(request.model_dump(), x))
            pipe.expire(_steps(request.net), self._ttl_s)
        pipe.execute()

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

    def close(self, job_id: str, ordinal: int) -> None:
        """The attempt needs no more steps: what is still in the queues for it is void."""
        self._turn_script(keys=[_turn(job_id)], args=["drop", ordinal])

    # --- the ControlNet worker's end -----------------------------------------------------------

    def next_step(self, nets: Sequence[str]) -> tuple[StepRequest, Tensor] | None:
        """The oldest request for any of ``nets``, or ``None`` after a short wait."""
        answer: Any = self._redis.blpop([_steps(net) for net in nets], timeout=POLL_S)
        if answer is None:
            return None
        head, x = unpack(answer[1])
        request = StepRequest.model_validate(head)
        assert x is not None, "a step request carries its latents"
        return request, x

    def is_current(self, request: StepRequest) -> bool:
        """Whether the job still waits for exactly this request."""
        return bool(self._redis.get(_turn(request.job_id)) == request.turn.encode())

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
