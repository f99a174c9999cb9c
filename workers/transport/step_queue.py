"""The queues of steps: one per ControlNet, from which every worker that holds the ControlNet takes,
oldest first.

A job has one turn at a time, so first come, first served is a round over all jobs. What waits is a
small ticket for each ControlNet; the step and its latents lie beside the queues once. A ticket is worth
something only after an atomic claim, so a part of a step has one worker, and everybody can see whether
that worker still lives. Every key expires.
"""

import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch import Tensor

from shared import keys
from shared.lua_script import read_lua
from shared.settings import Settings
from workers.transport.keys import step_token_key
from workers.transport.protocol import QueuedStep, StepPart, StepRequest
from workers.transport.wire import pack, unpack

if TYPE_CHECKING:
    from redis import Redis

#: One blocking read of a serving loop; between two it can notice that it shall stop.
POLL_S = 1.0
#: How far into a queue a pass looks for company.
DEPTH = 64
#: Where a part of a step is: `lua/locate.lua`.
StepState = Literal["queued", "unserved", "claimed", "abandoned", "lost", "gone"]


class ClaimedStep(NamedTuple):
    """A part of a step in this worker's hands."""

    request: StepRequest
    part: StepPart
    x: Tensor  # the scaled model input, (b, c, h/f, w/f)
    waiting: int  # tickets in the net's queue at that moment
    at: float  # that moment, in seconds since the epoch


class StepQueue:
    """Both ends of the queues; safe to use from several threads."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self._redis = redis
        self._ttl_s = settings.residual_ttl_s
        self.lease_s = settings.controlnet_lease_s
        self.wait_s = settings.residual_wait_s
        self._turn_script, self._claim_script, self._look_script, self._gather_script = (
            redis.register_script(read_lua("workers.transport", name))
            for name in ("step_token", "claim", "locate", "collect_batch")
        )
        self._lease_ms, self._served_ms = int(1000 * self.lease_s), int(1000 * settings.residual_wait_s)
        self._next = 0
        self.claimant = secrets.token_hex(8)  # as a claimant: a worker that starts again is another one

    # --- the UNet worker's end -------------------------------------------------------------------

    def send(self, request: StepRequest, x: Tensor) -> None:
        """Ask for a step; ``x`` is the scaled model input, ``(b, c, h/f, w/f)``.

        It becomes the job's current turn, older ones are void.
        """
        pipe = self._redis.pipeline(transaction=False)
        frame = pack(request.model_dump(), x)
        take: Any = ["take", request.ordinal, request.step_token, self._ttl_s, frame]
        self._turn_script(keys=_job_keys(request.job_id), args=take, client=pipe)
        for part in request.parts:
            pipe.rpush(keys.controlnet_steps(part.controlnet), _ticket(request, part).model_dump_json())
            pipe.expire(keys.controlnet_steps(part.controlnet), self._ttl_s)
        pipe.execute()

    def locate(self, request: StepRequest, part: StepPart) -> StepState:
        """Where a part of the step is now."""
        ticket = _ticket(request, part)
        step_token, _, claims = _job_keys(request.job_id)
        place: Any = self._look_script(
            keys=[step_token, claims, keys.controlnet_steps(part.controlnet), _served(part.controlnet)],
            args=[request.step_token, part.position, ticket.model_dump_json(), _lease("")],
        )
        found: StepState = place.decode()
        return found

    def cancel(self, job_id: str, ordinal: int) -> None:
        """The attempt needs no more steps: what is still in the queues for it is void."""
        self._turn_script(keys=_job_keys(job_id), args=["drop", ordinal])

    # --- the ControlNet worker's end -----------------------------------------------------------

    def pop(self, controlnets: Sequence[str]) -> QueuedStep | None:
        """The oldest ticket of one of ``controlnets``, each first in its turn; ``None`` after a short
        wait."""
        self._next = (self._next + 1) % len(controlnets)
        turned = [
            *controlnets[self._next :],
            *controlnets[: self._next],
        ]  # BLPOP prefers the first that has something
        answer: Any = self._redis.blpop(
            [keys.controlnet_steps(controlnet) for controlnet in turned], timeout=POLL_S
        )
        return None if answer is None else QueuedStep.model_validate_json(answer[1])

    def company(self, controlnet: str, request: StepRequest, rows: int) -> list[QueuedStep]:
        """Take tickets of ``controlnet`` that stack with ``request`` out of turn, ``rows`` rows of
        them at most."""
        args: list[str | int] = [request.batch_key, rows, DEPTH, request.job_id]
        found: Any = self._gather_script(keys=[keys.controlnet_steps(controlnet)], args=args)
        return [QueuedStep.model_validate_json(text) for text in found]

    def claim(self, ticket: QueuedStep) -> ClaimedStep | None:
        """Take what a ticket stands for; ``None`` if the job has moved on or another worker has it."""
        at, signs = time.time(), (_lease(self.claimant), _served(ticket.controlnet))
        claimed: Any = self._claim_script(
            keys=[*_job_keys(ticket.job_id), *signs, keys.controlnet_steps(ticket.controlnet)],
            args=[
                ticket.step_token,
                ticket.position,
                self.claimant,
                self._ttl_s,
                self._lease_ms,
                self._served_ms,
            ],
        )
        if claimed is None:
            return None
        frame, waiting = claimed
        head, x = unpack(frame)
        assert x is not None, "a step carries its latents"
        request = StepRequest.model_validate(head)
        part = next(part for part in request.parts if part.position == ticket.position)
        return ClaimedStep(request, part, x, waiting, at)

    def claim_part(self, request: StepRequest, part: StepPart) -> ClaimedStep | None:
        """Take another part of a step at hand, out of turn."""
        return self.claim(_ticket(request, part))

    def renew(self, controlnets: Sequence[str]) -> None:
        """Say that this worker lives: its claims hold for another lease, and steps for ``controlnets``
        may wait."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(_lease(self.claimant), 1, px=self._lease_ms)
        for controlnet in controlnets:
            pipe.set(_served(controlnet), 1, px=self._served_ms)
        pipe.execute()

    def current(self, requests: Sequence[StepRequest]) -> list[bool]:
        """For each, whether its job is still at this step: also what an older request brings is taken."""
        turns: Any = self._redis.mget([_job_keys(request.job_id)[0] for request in requests])
        return [
            step_token is not None and step_token.startswith(request.step_prefix.encode())
            for step_token, request in zip(turns, requests, strict=True)
        ]


def _ticket(request: StepRequest, part: StepPart) -> QueuedStep:
    return QueuedStep(
        job_id=request.job_id,
        step_token=request.step_token,
        controlnet=part.controlnet,
        position=part.position,
        rows=request.rows,
        batch_key=request.batch_key,
    )


def _job_keys(job_id: str) -> list[str]:
    """A string, its current turn; a string, the step and its latents; a hash, who computes which part."""
    return [step_token_key(job_id), f"swift:step:{job_id}", f"swift:claims:{job_id}"]


def _lease(worker: str) -> str:
    return f"swift:lease:{worker}"


def _served(controlnet: str) -> str:
    return f"swift:served:{controlnet}"
