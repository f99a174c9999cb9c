"""The residuals of one step, taken as they come and summed over the ControlNets as diffusers sums them."""

import logging
import time
from collections import Counter

from redis.exceptions import RedisError
from torch import Tensor

from shared import metrics
from shared.errors import (
    ControlNetFailed,
    InputsMissing,
    ResidualLost,
    ResidualServersFull,
    ResidualTimeout,
    SwiftError,
)
from workers.transport.protocol import MID, StepPart, StepRequest, StepResponse
from workers.transport.step_queue import StepState
from workers.unet.controlnet.session import ControlNetSession

log = logging.getLogger(__name__)

#: One wait for residuals; after it somebody looks whether their workers live, and whether the job does.
SLICE_S = 0.5
#: Errors that another try may mend, by code.
ASK_AGAIN = {error.code: error for error in (InputsMissing, ResidualLost, ResidualServersFull)}
#: A ticket is in no queue and in no hands for the moment between two commands of its worker.
LOOKS = 2


class StepResiduals:
    """What the decoder asks for: see `workers.families.unet_forward.Residuals`."""

    def __init__(self, session: ControlNetSession, request: StepRequest, x: Tensor) -> None:
        self._session = session
        self._context = session.context
        self._worker = session.context.worker
        self._request = request
        self._x = x
        self._got: dict[int, dict[tuple[int, ...], Tensor]] = {}  # index: by the ControlNets it sums
        self._spans: dict[tuple[int, ...], list[StepResponse]] = {}
        self._claimed_at: dict[int, float] = {}  # position: when the part was first seen in a worker's hands
        self._missed: Counter[int] = Counter()  # position: looks in a row that found the part nowhere
        self._sent_at = time.monotonic()
        self._send()

    @property
    def request(self) -> StepRequest:
        """The request as it was sent last."""
        return self._request

    def mid(self) -> Tensor:
        """The sum of the nets' mid residuals."""
        return self._sum(MID)

    def down(self, index: int) -> Tensor:
        """The sum of the nets' residuals of skip ``index``, counted from the shallowest."""
        return self._sum(index)

    def finish(self) -> None:
        """Note when each ControlNet worked."""
        by_position = {part.position: part.controlnet for part in self._request.parts}
        for positions, answers in self._spans.items():
            self._context.timeline.add(
                "controlnet " + " + ".join(by_position[position] for position in positions),
                min(answer.start_s for answer in answers),
                max(answer.end_s for answer in answers),
                answers[-1].worker,
            )

    def _sum(self, index: int) -> Tensor:
        start = time.time()
        while (total := self._joined(index)) is None:
            self._receive(index)
        self._context.timeline.add_wait("wait", start, time.time())
        self._got.pop(index)
        return total.to(self._x.device, self._x.dtype)

    def _joined(self, index: int) -> Tensor | None:
        """``(r0 + r1) + r2`` from single residuals and from sums that begin with the first net."""
        got = self._got.get(index, {})
        waiting = [part.position for part in self._request.parts]
        total: Tensor | None = None
        while waiting:
            fitting = [key for key in got if key == tuple(waiting[: len(key)])]
            if not fitting:
                return None
            longest = max(fitting, key=len)
            total = got[longest] if total is None else total + got[longest]
            waiting = waiting[len(longest) :]
        return total

    def _receive(self, index: int) -> None:
        self._context.check()
        start = time.monotonic()
        left = self._worker.settings.residual_wait_s - (start - self._sent_at)
        is_hopeless = self._session.unserved.issuperset(part.position for part in self._missing(index))
        answers = self._wait(0.0 if is_hopeless else min(left, SLICE_S) if left > 0 else SLICE_S)
        for answer, residual in answers:
            if not self._is_mine(answer):
                log.error("malformed residual dropped", extra={"positions": answer.positions})
            elif residual is not None:
                self._take(answer, residual)
            elif answer.retry == self._request.retry:  # else it is of a request that was sent again
                self._refused(answer)
        metrics.RESIDUAL_WAIT_S.observe(time.monotonic() - start)
        if not answers:
            self._look(index)

    def _is_mine(self, answer: StepResponse) -> bool:
        asked = {part.position for part in self._request.parts}
        return bool(answer.positions) and asked.issuperset(answer.positions)

    def _wait(self, timeout_s: float) -> list[tuple[StepResponse, Tensor | None]]:
        try:
            return self._worker.transport.receive(self._request, timeout_s)
        except RedisError:
            return []  # as if nothing had come

    def _take(self, answer: StepResponse, residual: Tensor) -> None:
        positions = tuple(answer.positions)
        self._got.setdefault(answer.index, {}).setdefault(positions, residual)
        self._spans.setdefault(positions, []).append(answer)
        self._session.record(answer)

    def _missing(self, index: int) -> list[StepPart]:
        came = {position for positions in self._got.get(index, {}) for position in positions}
        return [part for part in self._request.parts if part.position not in came]

    def _look(self, index: int) -> None:
        """Nothing came: is everybody still at work?"""
        now, wait_s = time.monotonic(), self._worker.settings.residual_wait_s
        for part in self._missing(index):
            place, position = self._place(part), part.position
            self._missed[position] = self._missed[position] + 1 if place == "lost" else 0
            if place in ("claimed", "queued"):
                self._session.unserved.discard(position)
            is_hopeless = now - self._sent_at > wait_s or position in self._session.unserved
            if place == "unserved" and is_hopeless:
                self._give_up(part, self._timeout(part))
            elif self._is_astray(position, place):
                self._send_again(part, self._timeout(part))
                return

    def _is_astray(self, position: int, place: StepState) -> bool:
        """Whether nobody will ever answer this part."""
        is_missed = self._missed[position] >= LOOKS
        return place in ("abandoned", "gone") or is_missed or self._is_stuck(position, place)

    def _is_stuck(self, position: int, place: StepState) -> bool:
        """Whether a living worker has had this part for too long."""
        if place != "claimed":
            return False
        now = time.monotonic()
        return now - self._claimed_at.setdefault(position, now) > self._worker.settings.residual_wait_s

    def _place(self, part: StepPart) -> StepState:
        try:
            return self._worker.steps.locate(self._request, part)
        except RedisError:
            return "lost"

    def _give_up(self, part: StepPart, why: SwiftError) -> None:
        """Nobody takes this part: it is computed here, or the attempt ends."""
        computed = self._session.compute_locally(self._request, part, self._x)
        if not computed:
            raise why
        for answer, residual in computed:
            self._take(answer, residual)

    def _timeout(self, part: StepPart) -> ResidualTimeout:
        return ResidualTimeout(part.controlnet, self._request.step, time.monotonic() - self._sent_at)

    def _refused(self, answer: StepResponse) -> None:
        part = next(part for part in self._request.parts if part.position == answer.positions[0])
        if answer.error in ASK_AGAIN:
            self._send_again(part, ASK_AGAIN[answer.error](answer.detail))
            return
        step = self._request.step
        raise ControlNetFailed(
            f"ControlNet {part.controlnet!r} failed at step {step} on {answer.worker}: {answer.detail}"
        )

    def _send_again(self, part: StepPart, why: SwiftError) -> None:
        """Ask for the whole step anew, for ``part``'s sake; what has come stays: it is the same bits."""
        retry = self._request.retry + 1
        if retry >= self._worker.settings.residual_sends:
            self._give_up(part, why)
            return
        self._request = self._request.model_copy(update={"retry": retry})
        self._missed.clear()
        self._claimed_at.clear()
        self._sent_at = time.monotonic()
        self._send()

    def _send(self) -> None:
        try:
            if self._request.retry:
                self._session.publish_again()
            self._worker.steps.send(self._request, self._x)
        except RedisError as error:
            log.warning("step not sent, it will be missed: %s", error)
