"""The queues of steps: one per ControlNet, from which every worker that holds it takes, oldest first.

A job has one current request, so first come, first served serves all jobs in turn. A queue holds a small
entry for each part of a step; the request and its latents are stored once. An entry is worth nothing
without an atomic claim, so each part has one worker, and everybody can see whether that worker lives. Every
key expires.

A ControlNet has one queue whose steps any worker may compute, and one of exact jobs for each platform (kind
of device or CPU, threads, versions: `shared.jobs.receipt.Platform`), from which only workers of
that platform take: others never see these steps. A worker takes from both in turn, oldest first in each.

A part of the current request is in one of these states (`lua/locate.lua`); the UNet worker checks it while
it waits:

| state     | meaning                                                        | the UNet worker         |
|-----------|----------------------------------------------------------------|-------------------------|
| queued    | in its queue, from which some worker has lately taken a step   | waits                   |
| unserved  | the same, and no worker has lately taken one, or loads for it  | waits, within a bound   |
| claimed   | a worker computes it and renews its lease                      | waits, within a bound   |
| abandoned | a worker has claimed it, and its lease has run out: it is dead | sends the request again |
| lost      | in no queue and not claimed: taken from the queue a moment ago | checks again, sends     |
| gone      | the server knows no request of the job: it was restarted       | sends the request again |

The UNet worker itself claims what nobody else has, if it has the ControlNet loaded: then it neither waits nor
needs a lease, as it computes the part at once.

A reply may be lost with its connection after the server has done what it was asked. redis-py then asks again:
requests and claims name their call, so that the repeated one is answered as the first. An entry that is
popped and never arrives is in no queue and not claimed: ``lost``, and the step is sent again.
"""

import secrets
import time
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from redis.exceptions import RedisError
from torch import Tensor

from shared.jobs.receipt import Platform
from shared.keys import controlnet_steps
from shared.lua_script import read_lua
from shared.redis_clients import renewal_client, with_timeout
from shared.settings import Settings
from workers.devices.base import Device
from workers.devices.platform import describe_platform
from workers.devices.selection import find_device
from workers.transport.doubtful_claims import DoubtfulClaims
from workers.transport.keys import (
    claims_key,
    lease_key,
    overdue_key,
    request_key,
    served_key,
    step_token_key,
    wake_key,
)
from workers.transport.protocol import ControlNetCall, QueuedStep, StepRequest
from workers.transport.redis_client.blocking_pop import POLL_S, REPLY_S
from workers.transport.redis_client.waits import RedisWaits
from workers.transport.wire import pack, unpack

if TYPE_CHECKING:
    from redis import Redis

#: How many entries of a queue are searched for steps that can share a forward pass.
DEPTH = 64
#: A step that no free worker has taken for so long is served by workers with a job, too. A free one takes it
#: within milliseconds, so this much tells that there is none. Who waits like this asks for one step in this
#: time, which bounds what it takes from others' jobs, and gets 25 steps within about a minute.
OVERDUE_S = 2.0
#: Where a part of a step is: see the table above.
StepState = Literal["queued", "unserved", "claimed", "abandoned", "lost", "gone"]


class ClaimedStep(NamedTuple):
    """A part of a step that this worker has claimed."""

    request: StepRequest
    part: ControlNetCall
    x: Tensor  # the scaled model input, (b, c, h/f, w/f)
    queue_length: int  # of the ControlNet's queue when it was claimed
    claimed_at: float  # seconds since the epoch


class StepQueue:
    """Both ends of the queues; safe to use from several threads."""

    def __init__(self, redis: "Redis", settings: Settings, device: Device | None = None) -> None:
        """``device``: where this worker computes, by default the CPU."""
        self._redis = redis = with_timeout(redis, REPLY_S)
        self._renewals = renewal_client(redis, settings.controlnet_lease_s)
        self._device = device or find_device("cpu")
        self._ttl_s = settings.residual_ttl_s
        self.lease_s = settings.controlnet_lease_s
        self.wait_s = settings.residual_timeout_s
        (
            self._step_token_script,
            self._claim_script,
            self._claim_unclaimed_script,
            self._locate_script,
            self._collect_script,
        ) = (
            redis.register_script(read_lua("workers.transport", name))
            for name in ("step_token", "claim", "claim_unclaimed", "locate", "collect_batch")
        )
        self._doubtful = DoubtfulClaims(redis)
        self.redis_waits = RedisWaits()  # of the threads that serve
        self._lease_ms, self._served_ms = int(1000 * self.lease_s), int(1000 * settings.residual_timeout_s)
        self._first = 0
        self.claimant = secrets.token_hex(8)  # a worker that is started again is another claimant

    @cached_property
    def platform(self) -> Platform:
        """Of this process; first asked once it is set up."""
        return describe_platform(self._device)

    @cached_property
    def platform_digest(self) -> str:
        """Names the platform of this process."""
        return self.platform.digest

    def may_compute(self, platform: str) -> bool:
        """Whether this worker may compute what is for a platform; empty: for any."""
        return platform in ("", self.platform_digest)

    # --- the UNet worker's end -------------------------------------------------------------------

    def send(self, request: StepRequest, x: Tensor, *, local: Collection[int] = ()) -> None:
        """Ask for a step; ``x`` is the scaled model input, ``(b, c, h/f, w/f)``.

        The request becomes the job's current one: older ones are superseded. Parts at the positions ``local``
        are computed by this worker itself: it claims them, so that no other does.
        """
        queued = [part for part in request.parts if part.position not in local]
        entries = [_queued(request, part).model_dump_json() for part in queued]
        frame = pack(request.model_dump(), x)
        args: Any = ["set", request.ordinal, request.step_token, self._ttl_s, frame, *entries]
        self._step_token_script(
            keys=[*_job_keys(request.job_id), *map(_queue_of, queued)],
            args=[*args, self.claimant, *local],
        )

    def find_unclaimed(self, request: StepRequest, parts: Sequence[ControlNetCall]) -> list[ControlNetCall]:
        """Those of ``parts`` that nobody has claimed yet."""
        claimants: Any = self._redis.hmget(claims_key(request.job_id), [str(part.position) for part in parts])
        return [part for part, claimant in zip(parts, claimants, strict=True) if claimant is None]

    def claim_unclaimed(
        self, request: StepRequest, parts: Sequence[ControlNetCall], *, most: int | None = None
    ) -> list[ControlNetCall]:
        """Claim those of ``parts`` that nobody has claimed, for the worker that sent ``request``.

        The first ``most`` of them, by default all. Their entries leave the queues. None are claimed for a
        request that is superseded; all where the server has lost it, as no other worker can claim them any
        more.
        """
        step_token, _, claims = _job_keys(request.job_id)
        most = len(parts) if most is None else most
        args: list[str | int] = [request.step_token, self._new_claim(), self._ttl_s, most]
        for part in parts:
            args += [part.position, _queued(request, part).model_dump_json()]
        queues = [_queue_of(part) for part in parts]
        claimed: Any = self._claim_unclaimed_script(keys=[step_token, claims, *queues], args=args)
        return [part for part in parts if part.position in claimed]

    def locate(self, request: StepRequest, part: ControlNetCall) -> StepState:
        """Where a part of the step is now."""
        queued = _queued(request, part).model_dump_json()
        step_token, _, claims = _job_keys(request.job_id)
        state: Any = self._locate_script(
            keys=[step_token, claims, _queue_of(part), served_key(part.controlnet, part.platform)],
            args=[request.step_token, part.position, queued, lease_key("")],
            client=self._renewals,  # who waits for a residual must notice soon that it was lost
        )
        found: StepState = state.decode()
        return found

    def mark_overdue(self, request: StepRequest, part: ControlNetCall) -> None:
        """Have workers with a job serve a part, too: nobody has taken it from its queue for `OVERDUE_S`."""
        key, entry = overdue_key(part.controlnet, part.platform), _queued(request, part).model_dump_json()
        pipe = self._redis.pipeline(transaction=False)
        pipe.lrem(key, 0, entry)
        pipe.rpush(key, entry)
        pipe.pexpire(key, int(2000 * OVERDUE_S))  # the requester marks it again
        pipe.execute()

    def cancel(self, job_id: str, ordinal: int) -> None:
        """The attempt needs no more steps: what is still queued for it is not computed."""
        self._step_token_script(keys=_job_keys(job_id), args=["remove", ordinal])

    # --- the ControlNet worker's end -----------------------------------------------------------

    def pop(self, controlnets: Sequence[str]) -> QueuedStep | None:
        """Take the oldest entry of one of these ControlNets' queues; ``None`` after a short wait, or `wake`.

        Those of other platforms are not looked at. An entry whose reply is lost with its connection is in no
        queue and not claimed: its job finds the part ``lost``, and sends the step again. Raises `ValueError`
        for an entry that cannot be read; it has left the queue.
        """
        queues = [controlnet_steps(name, own) for name in controlnets for own in ("", self.platform_digest)]
        self._first = (self._first + 1) % len(queues)
        wake = wake_key(self.claimant)
        # BLPOP prefers the first queue that holds something, so each one is the first in turn.
        in_turn = [wake, *queues[self._first :], *queues[: self._first]]
        with self.redis_waits:
            reply: Any = self._redis.blpop(in_turn, timeout=POLL_S)
        if reply is None or reply[0] == wake.encode():
            return None
        return QueuedStep.model_validate_json(reply[1])

    def wake(self) -> None:
        """Have the `pop` that waits return at once, or else the next one."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.rpush(wake_key(self.claimant), 1)
        pipe.pexpire(wake_key(self.claimant), int(1000 * POLL_S))
        pipe.execute()

    def give_back(self, queued: QueuedStep) -> None:
        """Put an entry that was popped and not claimed back to the front of its queue.

        Twice, if a reply is lost: the second one is claimed by nobody.
        """
        queue = _queue_of(queued)
        pipe = self._redis.pipeline(transaction=False)
        pipe.lpush(queue, queued.model_dump_json())
        pipe.expire(queue, self._ttl_s)
        with self.redis_waits:
            pipe.execute()

    def has_overdue(self, controlnets: Sequence[str]) -> bool:
        """Whether a step of these ControlNets may be overdue."""
        return bool(controlnets and self._redis.exists(*self._overdue_keys(controlnets)))

    def find_overdue(self, controlnets: Sequence[str]) -> list[str]:
        """Those of these ControlNets of which a step may be overdue."""
        pipe = self._redis.pipeline(transaction=False)
        for name in controlnets:
            pipe.exists(*self._overdue_keys([name]))
        return [name for name, count in zip(controlnets, pipe.execute(), strict=True) if count]

    def begin_load(self, controlnet: str) -> bool:
        """Say that this worker loads a ControlNet for steps in its queues, so that nobody else does.

        ``False`` if another worker serves them, or loads it, or has lately: see the state ``unserved``.
        """
        return any(self._note_load(controlnet, is_new=True))

    def go_on_loading(self, controlnet: str) -> None:
        """Say that a load still runs; called more often than ``residual_timeout_s``."""
        self._note_load(controlnet, is_new=False)

    def _note_load(self, controlnet: str, *, is_new: bool) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for platform in ("", self.platform_digest):
            pipe.set(served_key(controlnet, platform), 1, px=self._served_ms, nx=is_new)
        return pipe.execute()

    def claim_overdue(self, controlnets: Sequence[str]) -> ClaimedStep | None:
        """Claim the oldest overdue step of one of these ControlNets that nobody has claimed.

        A job of this worker waits meanwhile: so nothing is tried again while Redis does not answer. Raises
        `redis.RedisError`, and `ValueError` for an entry that cannot be read; it has left the list.
        """
        keys = self._overdue_keys(controlnets)
        while keys and (popped := self._pop_first(keys)) is not None:
            queued = QueuedStep.model_validate_json(popped)
            if (claimed := self._claim(queued, popped.decode(), self._renewals)) is not None:
                return claimed
        return None

    def _pop_first(self, keys: Sequence[str]) -> bytes | None:
        """The first element of the first of these lists that holds any.

        One whose reply is lost is still in its queue, and its requester marks it as overdue again.
        """
        reply: Any = self._renewals.lmpop(len(keys), *keys, direction="LEFT")
        if reply is None:
            return None
        _, [element] = reply
        found: bytes = element
        return found

    def _overdue_keys(self, controlnets: Sequence[str]) -> list[str]:
        return [
            overdue_key(name, platform) for name in controlnets for platform in ("", self.platform_digest)
        ]

    def collect_batch(self, part: ControlNetCall, request: StepRequest, extra_rows: int) -> list[QueuedStep]:
        """Take entries of other jobs that can share a forward pass with that of ``request``, oldest first.

        They have ``extra_rows`` rows at most, and have left the queue unclaimed: those whose reply is lost
        are sent again, as after `pop`.
        """
        args: list[str | int] = [request.batch_key_of(part), extra_rows, DEPTH, request.job_id]
        with self.redis_waits:
            found: Any = self._collect_script(keys=[controlnet_steps(part.controlnet)], args=args)
        return [QueuedStep.model_validate_json(text) for text in found]

    def claim(self, queued: QueuedStep) -> ClaimedStep | None:
        """Claim what an entry stands for, which was popped.

        ``None`` if the job is past it or another worker has claimed it.
        """
        return self._claim(queued, "")

    def _claim(self, queued: QueuedStep, entry: str, redis: "Redis | None" = None) -> ClaimedStep | None:
        """``entry``: what leaves the queue, if the part is claimed; ``redis`` retries by default.

        A claim whose call fails in the end is given up before this worker renews its lease again.
        """
        now, claim = time.time(), self._new_claim()
        try:
            with self.redis_waits:
                claimed = self._call_claim(queued, claim, entry, redis or self._redis)
        except RedisError:
            self._doubtful.add(queued.job_id, queued.position, claim)
            raise
        if claimed is None:
            return None
        frame, queue_length = claimed
        header, x = unpack(frame)
        assert x is not None, "a step request carries its latents"
        request = StepRequest.model_validate(header)
        part = next(part for part in request.parts if part.position == queued.position)
        return ClaimedStep(request, part, x, queue_length, now)

    def _call_claim(self, queued: QueuedStep, claim: str, entry: str, redis: "Redis") -> Any:
        self._doubtful.give_up(redis)  # each claim renews the lease
        return self._claim_script(
            keys=[
                *_job_keys(queued.job_id),
                lease_key(self.claimant),
                served_key(queued.controlnet, queued.platform),
                _queue_of(queued),
            ],
            args=[
                queued.step_token,
                queued.position,
                claim,
                self._ttl_s,
                self._lease_ms,
                self._served_ms,
                entry,
            ],
            client=redis,
        )

    def _new_claim(self) -> str:
        """What a call that claims writes; see `claims_key`."""
        return f"{self.claimant}:{secrets.token_hex(4)}"

    def claim_call(self, request: StepRequest, part: ControlNetCall) -> ClaimedStep | None:
        """Claim another part of a step; its entry leaves its queue. ``None`` also if this worker may not."""
        if not self.may_compute(part.platform):
            return None
        queued = _queued(request, part)
        return self._claim(queued, queued.model_dump_json())

    def renew(self, controlnets: Sequence[str]) -> None:
        """Renew this worker's lease on all it has claimed, and the sign that ``controlnets`` are served."""
        self._doubtful.give_up(self._renewals)
        pipe = self._renewals.pipeline(transaction=False)
        pipe.set(lease_key(self.claimant), 1, px=self._lease_ms)
        for controlnet in controlnets:
            for platform in ("", self.platform_digest):
                pipe.set(served_key(controlnet, platform), 1, px=self._served_ms)
        pipe.execute()

    def are_current(self, requests: Sequence[StepRequest]) -> list[bool]:
        """For each request, whether its job is still at this step, whichever retry is the current one."""
        keys = [step_token_key(request.job_id) for request in requests]
        with self.redis_waits:
            step_tokens: Any = self._redis.mget(keys)
        return [
            step_token is not None and step_token.startswith(request.step_prefix.encode())
            for step_token, request in zip(step_tokens, requests, strict=True)
        ]


def _queued(request: StepRequest, part: ControlNetCall) -> QueuedStep:
    return QueuedStep(
        job_id=request.job_id,
        step_token=request.step_token,
        controlnet=part.controlnet,
        position=part.position,
        rows=request.rows,
        batch_key=request.batch_key_of(part),
        platform=part.platform,
    )


def _queue_of(part: ControlNetCall | QueuedStep) -> str:
    return controlnet_steps(part.controlnet, part.platform)


def _job_keys(job_id: str) -> list[str]:
    """The keys that belong to one request: they are replaced together."""
    return [step_token_key(job_id), request_key(job_id), claims_key(job_id)]
