"""The residuals of one step, taken as they come and summed over the ControlNets as diffusers sums them."""

import logging
import time
from collections.abc import Sequence

from redis.exceptions import RedisError
from torch import Tensor

from shared import metrics
from shared.errors import (
    ControlNetChanged,
    ControlNetFailed,
    DeviceFull,
    DeviceLost,
    InputsMissing,
    ReceiptMismatch,
    ResidualLost,
    ResidualServersFull,
    ResidualTimeout,
    SwiftError,
)
from workers.devices.base import DeviceCopy, HostCopy
from workers.transport.protocol import ControlNetCall, StepRequest, StepResponse
from workers.unet.controlnet.call_monitor import CallMonitor, Decision
from workers.unet.controlnet.claims.requester_claims import RequesterClaims
from workers.unet.controlnet.local_computation import LocalComputation
from workers.unet.controlnet.session import ControlNetSession
from workers.unet.controlnet.step_arrivals import StepArrivals

log = logging.getLogger(__name__)

#: Errors that another request may not meet, by code.
_ERRORS = (DeviceFull, DeviceLost, InputsMissing, ResidualLost, ResidualServersFull)
RETRYABLE = {error.code: error for error in _ERRORS}


class StepResiduals:
    """The residuals of one step: `get` is asked for each when the base model needs it."""

    def __init__(self, session: ControlNetSession, request: StepRequest, x: Tensor, copy: HostCopy) -> None:
        """``x`` is the ControlNets' input on the device, ``copy`` the same for the host's memory."""
        self._session = session
        self._context = session.context
        self._worker = session.context.worker
        self.request = request  # the latest: a step may be requested again
        self._x, self._copy = x, copy
        self._arrivals = StepArrivals(session, request)
        self._local = LocalComputation(session, x, self._arrivals)
        self._monitor = CallMonitor(session)
        self._claims = RequesterClaims(session, request.parts)
        self._given = 0  # how many residuals the base model has taken
        self._has_waited = False  # for the residual that `get` was asked for last
        self._send()

    def get(self, index: int) -> Tensor:
        """The sum of the ControlNets' residuals ``index``, on the device and in the type of the latents.

        May wait. Called once for each index; raises what ends the attempt. At the first one the encoder has
        been submitted, and what nobody computes yet is computed here, if its ControlNet is loaded.
        """
        times = self._context.device_times
        if self._local.device_end is None:
            self._local.begin()
            parts, claimed = self.request.parts, self._claims.positions
            self._compute_here([part for part in parts if part.position in claimed], "local")
            self._claim(parts)
        self._local.compute_until(index)
        start, self._has_waited = times.mark(), False
        while (total := self._arrivals.total(index)) is None:
            self._receive(index)
            self._local.compute_until(index)
        times.measure(start, lambda since_s, _: self._arrivals.waited(index, since_s))
        # One that was there when it was asked for has taken the time of its transfer.
        wait = "wait for residuals" if self._has_waited else "wait for transfer"
        times.add_wait(wait, start, residual=self._given)
        self._given += 1
        return total.to(self._x.dtype)

    def finish(self) -> None:
        """Add the times at which each ControlNet computed to the timeline, and note how long it travelled."""
        self._copy.wait()  # it has arrived long ago, also where nothing was sent: its source may go only then
        self._context.device_times.report_done()
        self._arrivals.report()

    def _receive(self, index: int) -> None:
        """Wait once for residuals; if none come, see after those of ``index``."""
        self._context.check()
        start = time.monotonic()
        responses = self._wait(self._monitor.timeout_s(self._missing(index)))
        for response, residual in responses:
            if not self._arrivals.is_expected(response):
                log.error("malformed residual dropped", extra={"positions": response.positions})
            elif residual is not None:
                self._take_received(response, residual)
            elif response.retry == self.request.retry:  # else it answers an earlier request for this step
                self._handle_error(response)
        metrics.RESIDUAL_WAIT_S.observe(time.monotonic() - start)
        if not responses:
            self._note_wait()
            self._worker.overdue_steps.serve_one()  # others may wait for this worker, and it for them
            self._check_missing(index)

    def _wait(self, timeout_s: float) -> list[tuple[StepResponse, DeviceCopy | None]]:
        try:
            return self._worker.transport.receive(
                self.request, timeout_s, self._note_wait, held_bytes=self._arrivals.size_bytes
            )
        except RedisError:
            return []  # as if nothing had come

    def _note_wait(self) -> None:
        self._has_waited = True

    def _take_received(self, response: StepResponse, residual: DeviceCopy) -> None:
        """Take what another worker sent; computed here if its weights are not the steps' or the receipt's."""
        if self._claims.positions.issuperset(response.positions):
            return  # it has been computed here meanwhile
        try:
            self._arrivals.take(response, residual)
        except (ControlNetChanged, ReceiptMismatch) as error:
            parts = [part for part in self.request.parts if part.position in response.positions]
            if not all(self._session.holds(part) for part in parts):
                raise
            log.warning("residual not used", extra={"error": str(error)})
            self._claims.take_over(parts)
            self._compute_here(parts, "requester")

    def _check_missing(self, index: int) -> None:
        """Nothing came: look where the missing parts are, and see to those that nobody works on."""
        self._context.check_stopping()
        missing = self._missing(index)
        if self._claims.held(missing):  # it was loaded meanwhile
            self._claim(missing)
        elif self._monitor.is_due():
            decisions = [(part, self._monitor.decide(self.request, part)) for part in missing]
            unclaimed = [part for part, decision in decisions if decision is Decision.CLAIM]
            self._claims.try_again(unclaimed)
            self._claim(unclaimed)
            for part, decision in decisions:
                if decision is Decision.LOAD:
                    self._load_next(part.controlnet)
                elif decision is Decision.MARK_OVERDUE:
                    self._mark_overdue(part)
                elif decision is Decision.GIVE_UP:
                    self._give_up(part, self._timeout_of(part))
            moved = [
                self._context.platforms.choose_another(part.controlnet, part.platform)
                for part, decision in decisions
                if decision is Decision.ASK_ANOTHER_PLATFORM
            ]
            lost = [part for part, decision in decisions if decision is Decision.REQUEST_AGAIN]
            if lost:
                self._request_again(lost, self._timeout_of(lost[0]))
            elif any(moved):
                self._send_again()

    def _missing(self, index: int) -> list[ControlNetCall]:
        missing = self._arrivals.missing(index)
        return [part for part in self.request.parts if part.position in missing]

    def _timeout_of(self, part: ControlNetCall) -> ResidualTimeout:
        return ResidualTimeout(part.controlnet, self.request.step, self._monitor.waited_s)

    def _handle_error(self, response: StepResponse) -> None:
        failed = set(response.positions) - self._claims.positions
        parts = [part for part in self.request.parts if part.position in failed]
        if not parts:
            return  # they have been computed here meanwhile
        if response.error in RETRYABLE:
            self._request_again(parts, RETRYABLE[response.error](response.detail))
            return
        step, name = self.request.step, parts[0].controlnet
        raise ControlNetFailed(
            f"ControlNet {name!r} failed at step {step} on {response.worker}: {response.detail}"
        )

    def _give_up(self, part: ControlNetCall, error: SwiftError) -> None:
        """Nobody will compute a part: load its ControlNet, ask another platform, or end the attempt."""
        if self._session.has_other_weights(part.controlnet):
            raise ControlNetChanged(f"{error}; this worker has other weights than the steps before")
        if self._load(part.controlnet):
            return
        if part.platform and self._context.platforms.choose_another(part.controlnet, part.platform):
            self._send_again()
            return
        raise self._worker.residency.why_not(part.controlnet) or error

    def _mark_overdue(self, part: ControlNetCall) -> None:
        try:
            self._worker.steps.mark_overdue(self.request, part)
        except RedisError:
            log.warning("overdue step not marked; it waits in its queue")

    def _load_next(self, controlnet: str) -> None:
        """Begin to load once no other of this step is being loaded: that may be evicted once it was used."""
        residency = self._worker.residency
        if not any(residency.is_loading(part.controlnet) for part in self.request.parts):
            self._load(controlnet)

    def _load(self, controlnet: str) -> bool:
        """Begin to load; in the place of what this step needs no more, if nothing else makes room."""
        self._session.make_room()
        return self._worker.residency.load_for_step(controlnet)

    def _claim(self, parts: Sequence[ControlNetCall]) -> None:
        """Compute those of ``parts`` that nobody else does, one after another: others may take the next."""
        assert self._local.device_end is not None, "parts are claimed once a residual is needed"
        while claimed := self._claims.claim_next(self.request, parts, self._local.device_end):
            self._compute_here(claimed, "requester")

    def _compute_here(self, parts: Sequence[ControlNetCall], result: str) -> None:
        self._local.compute(self.request, parts, result)

    def _request_again(self, parts: Sequence[ControlNetCall], error: SwiftError) -> None:
        """Nobody computes ``parts`` any more: compute them here, or else request the whole step again.

        What has come stays, as it has the same bits.
        """
        held = [part for part in parts if self._session.holds(part)]
        self._claims.take_over(held)
        self._compute_here(held, "requester")
        others = [part for part in parts if part not in held]
        if not others:
            return
        if self.request.retry + 1 >= self._worker.settings.residual_attempts:
            self._give_up(others[0], error)
            return
        self._send_again()

    def _send_again(self) -> None:
        """Ask for the whole step, its parts on the platforms that are chosen by now."""
        parts = [
            part.model_copy(update={"platform": self._context.platform_of(part.controlnet)})
            for part in self.request.parts
        ]
        changes = {"retry": self.request.retry + 1, "parts": parts}
        self.request = self.request.model_copy(update=changes)
        self._monitor.restart()
        self._send()

    def _send(self) -> None:
        if len(self._claims.positions) == len(self.request.parts):
            return
        try:
            if self.request.retry:
                self._session.publish_again()
            self._worker.steps.send(self.request, self._copy.wait(), local=self._claims.positions)
            self._claims.others_know = True
        except RedisError as error:
            self._claims.others_know = False
            log.warning("step not sent; it will be requested again", extra={"error": str(error)})
