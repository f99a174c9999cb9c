"""The channel between a leader and one follower of an attempt: steps one way, predictions back.

Whoever takes the place of a lost follower has another channel. Two lists at the residual Redis; every key
expires, every wait has a deadline. Latents are small (64 kB at SD 1.5's 512 x 512), so this is plain
redis-py.
"""

import logging
import secrets
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from torch import Tensor

from workers.transport.keys import cfg_claim_key, cfg_predictions_key, cfg_steps_key
from workers.transport.redis_client.blocking_pop import pop_within
from workers.transport.wire import InvalidFrame, pack, unpack
from workers.unet.cfg_parallel.messages import BranchPrediction, BranchStep, FollowBranch
from workers.unet.worker import UNetWorker

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

_Message = TypeVar("_Message", BranchStep, BranchPrediction)


class Released(Exception):
    """The leader needs no follower any more."""


class BranchChannel:
    """Both ends of one channel; safe to use from several threads."""

    def __init__(self, redis: "Redis", offer: FollowBranch, ttl_s: int) -> None:
        self._redis = redis
        names = offer.job_id, offer.attempt, offer.channel
        self._claim = cfg_claim_key(*names)
        self._steps = cfg_steps_key(*names)
        self._predictions = cfg_predictions_key(*names)
        self._ttl_s = ttl_s

    # --- the leader's end --------------------------------------------------------------------------

    def send_step(self, step: BranchStep, x: Tensor) -> None:
        """Send the branch's model input, ``n`` rows."""
        self._push(self._steps, pack(step.model_dump(), x))

    def receive(self, timeout_s: float) -> tuple[BranchPrediction, Tensor | None] | None:
        """The next response; ``None`` when none has come within ``timeout_s`` (0: do not wait)."""
        frame = pop_within(self._redis, self._predictions, timeout_s)
        return None if frame is None else _read(BranchPrediction, frame)

    def release(self) -> None:
        """Tell the follower that no further step comes."""
        self._push(self._steps, b"")

    # --- the follower's end ------------------------------------------------------------------------

    def claim(self, worker: str) -> bool:
        """Become the follower, once ready; one worker may, however many were asked.

        A claim whose reply was lost, and which is made again, finds itself.
        """
        claim = f"{worker} {secrets.token_hex(4)}"
        before: Any = self._redis.set(self._claim, claim, nx=True, ex=self._ttl_s, get=True)
        return before is None or before == claim.encode()

    def is_claimed(self) -> bool:
        """Whether another worker is the follower already, so that there is no use in preparing."""
        return bool(self._redis.exists(self._claim))

    def next_step(self, timeout_s: float) -> tuple[BranchStep, Tensor] | None:
        """The next step; ``None`` after ``timeout_s``. Raises `Released` when no further one comes."""
        frame = pop_within(self._redis, self._steps, timeout_s)
        if frame is None:
            return None
        if not frame:
            raise Released
        read = _read(BranchStep, frame)
        if read is None or read[1] is None:
            return None
        return read[0], read[1]

    def respond(self, response: BranchPrediction, prediction: Tensor | None = None) -> None:
        """Send a prediction, ``n`` rows, or say why there is none."""
        self._push(self._predictions, pack(response.model_dump(), prediction))

    def _push(self, key: str, frame: bytes) -> None:
        pipe = self._redis.pipeline(transaction=False)
        pipe.rpush(key, frame)
        pipe.expire(key, self._ttl_s)
        pipe.execute()


def branch_channel(worker: UNetWorker, offer: FollowBranch) -> BranchChannel:
    """The channel that an offer names, for either end."""
    return BranchChannel(worker.residual, offer, worker.settings.residual_ttl_s)


def _read(kind: type[_Message], frame: bytes) -> tuple[_Message, Tensor | None] | None:
    """Decode a frame; ``None``, as if none had come, for one that no worker of ours has sent."""
    try:
        header, tensor = unpack(frame)
        return kind.model_validate(header), tensor
    except (InvalidFrame, ValidationError) as error:
        log.error("malformed branch message dropped", extra={"error": f"{type(error).__name__}: {error}"})
        return None
