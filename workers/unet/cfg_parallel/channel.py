"""The line between two UNet workers that share a job's guidance halves: steps one way, predictions back.

Two lists per attempt at the residual Redis; every key expires, every wait has a deadline. Latents are
small (64 kB at SD 1.5's 512²), so this is plain redis-py.
"""

import logging
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from torch import Tensor

from shared.jobs.receipt import WorkerReceipt
from shared.message_base import Message
from workers.transport.wire import InvalidFrame, pack, unpack
from workers.unet.worker import UNetWorker

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)


class BranchStep(Message):
    """Please predict the unconditional half of this step."""

    step: int
    total: int  # of the job's steps
    t: float  # the scheduler's timestep
    loras: list[str]  # names of the LoRAs in effect, in the order of the job


class BranchPrediction(Message):
    """What the assisting worker says: a prediction, or why there is none.

    Times are seconds since the epoch.
    """

    step: int  # READY before the first
    worker: str
    start_s: float = 0.0
    end_s: float = 0.0
    missing: bool = False  # a LoRA of this step is not here yet
    leaving: bool = False  # the worker is wanted elsewhere, or failed: it answers no further step
    model_sha256: str = ""  # when it is ready: of its weights, and what it computes with
    receipt: WorkerReceipt | None = None


_Half = TypeVar("_Half", BranchStep, BranchPrediction)

#: The step of the answer that says the worker is ready.
READY = -1


class BranchChannel:
    """Both ends of one attempt's line; safe to use from several threads."""

    def __init__(self, redis: "Redis", job_id: str, attempt: str, ttl_s: int) -> None:
        self._redis = redis
        self._claim = f"swift:half:claim:{job_id}:{attempt}"
        self._steps = f"swift:half:steps:{job_id}:{attempt}"
        self._answers = f"swift:half:answers:{job_id}:{attempt}"
        self._ttl_s = ttl_s

    # --- the worker that draws ---------------------------------------------------------------------

    def ask(self, step: BranchStep, x: Tensor) -> None:
        """Send the half's model input, ``(n, c, h/f, w/f)``."""
        self._push(self._steps, pack(step.model_dump(), x))

    def receive(self, timeout_s: float) -> tuple[BranchPrediction, Tensor | None] | None:
        """The next answer; ``None`` when none has come within ``timeout_s`` (0: do not wait)."""
        frame = self._pop(self._answers, timeout_s)
        return None if frame is None else _read(BranchPrediction, frame)

    def dismiss(self) -> None:
        """Tell the other end that no further step comes."""
        self._push(self._steps, b"")

    # --- the worker that assists -------------------------------------------------------------------

    def claim(self, worker: str) -> bool:
        """Take the other end, once ready; one worker may, however many were asked."""
        return bool(self._redis.set(self._claim, worker, nx=True, ex=self._ttl_s))

    def is_claimed(self) -> bool:
        """Whether another worker is ready, so that there is no use in making ready."""
        return bool(self._redis.exists(self._claim))

    def next_step(self, timeout_s: float) -> tuple[BranchStep, Tensor] | None:
        """The next step; ``None`` after ``timeout_s``. Raises `Released` when no further one comes."""
        frame = self._pop(self._steps, timeout_s)
        if frame is None:
            return None
        if not frame:
            raise Released
        read = _read(BranchStep, frame)
        if read is None or read[1] is None:
            return None
        return read[0], read[1]

    def answer(self, answer: BranchPrediction, prediction: Tensor | None = None) -> None:
        """Send a prediction, ``(n, c, h/f, w/f)``, or a word instead."""
        self._push(self._answers, pack(answer.model_dump(), prediction))

    def _push(self, key: str, frame: bytes) -> None:
        pipe = self._redis.pipeline(transaction=False)
        pipe.rpush(key, frame)
        pipe.expire(key, self._ttl_s)
        pipe.execute()

    def _pop(self, key: str, timeout_s: float) -> Any:
        if timeout_s <= 0:
            return self._redis.lpop(key)
        answer: Any = self._redis.blpop([key], timeout=timeout_s)
        return None if answer is None else answer[1]


def branch_channel(worker: UNetWorker, job_id: str, attempt: str) -> BranchChannel:
    """The channel between the leader and the follower of an attempt."""
    return BranchChannel(worker.residual, job_id, attempt, worker.settings.residual_ttl_s)


def _read(kind: type[_Half], frame: bytes) -> tuple[_Half, Tensor | None] | None:
    """What a frame says; ``None``, as if none had come, for what nobody here has sent."""
    try:
        head, tensor = unpack(frame)
        return kind.model_validate(head), tensor
    except (InvalidFrame, ValidationError) as error:
        log.error("malformed half dropped", extra={"error": f"{type(error).__name__}: {error}"})
        return None


class Released(Exception):
    """The worker that draws needs no assistance any more."""
