"""The serving loop: take a step of any job, compute, hand the residuals over one by one.

Nobody computes for an attempt that is superseded, or for a job that is past the step. The claim sees to
it; if `CURRENT_STEP_CACHE_S` pass before a trunk can begin (a ControlNet is loaded, the device is
taken), the job is looked
at again, and once more before the first residual, if others share the pass. A step alone is not: what
comes after its trunk is cheap, and a look would delay every first residual. A trunk that has begun is not
interrupted: so much, of one step of each ControlNet, may be computed in vain.
"""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

from redis.exceptions import RedisError

from shared import metrics
from shared.errors import ControlNetFailed, SwiftError
from shared.logs import log_fields
from shared.messaging.messages import AttachControlNet
from workers.controlnet_serving.aggregate import ResidualAggregator
from workers.controlnet_serving.batch_sizer import BatchSizers
from workers.controlnet_serving.forward import BatchedForward
from workers.controlnet_serving.inputs import Inputs
from workers.controlnet_serving.lease_renewer import LeaseRenewer
from workers.controlnet_serving.sender import ResponseSender
from workers.controlnet_serving.sessions import Sessions
from workers.families.unet_controlnet import ControlNet
from workers.runtime.busy import BusyShare
from workers.runtime.model_cache import ModelCache
from workers.runtime.watchdog import Watchdog
from workers.transport.protocol import MID, StepRequest, StepResponse
from workers.transport.step_queue import POLL_S, ClaimedStep, StepQueue
from workers.transport.transport import Transport

log = logging.getLogger(__name__)

#: Where other jobs use a ControlNet, a step waits this share of its time for theirs.
WAIT_SHARE = 0.03
#: A look at a job's turn takes a fraction of a millisecond; what it tells is believed for so long.
CURRENT_STEP_CACHE_S = 0.02


class Server:
    """One device that computes ControlNet steps, in the order they come, whoever asks."""

    def __init__(
        self,
        names: Sequence[str],
        controlnets: ModelCache[ControlNet],
        steps: StepQueue,
        transport: Transport,
        batch_delay: float,
        watchdog: Watchdog | None = None,
    ) -> None:
        """``batch_delay``: the share by which a step may take longer for other jobs' sake."""
        self._names = list(names)
        self._watchdog = watchdog or Watchdog(0.0)  # not started, it ends nothing
        self.busy = BusyShare()
        self.sessions = Sessions()
        self._controlnets = controlnets
        self._steps = steps
        self._worker = ""
        self._companies = BatchSizers(batch_delay)
        self._inputs = Inputs(transport)
        self._device = threading.Lock()
        self._pulse = LeaseRenewer(steps, lambda: self.names, self._watchdog.overdue)
        self.sender = ResponseSender(transport, self._pulse)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="serve", daemon=True)

    @property
    def names(self) -> list[str]:
        """The ControlNets that are served right now: those that could be loaded, or were not tried yet."""
        failed = self._controlnets.failed()
        return [name for name in self._names if name not in failed]

    def start(self, worker: str) -> None:
        """Serve in a thread of its own, under the name ``worker``."""
        self._worker = worker
        self._pulse.start()
        self.sender.start()
        self._thread.start()

    def stop(self) -> None:
        """Finish the step at hand and take no more."""
        self._stop.set()
        self._thread.join()
        self.sender.stop()
        self._pulse.stop()

    def attach(self, message: AttachControlNet) -> None:
        """Be ready before the first step: the ControlNet loaded, the control image embedded."""
        self.sessions.note(message.job_id, message.controlnet)
        self._inputs.fetch(message.image)  # before the device is taken: others compute meanwhile
        with (
            self._limit(message.controlnet),
            self._controlnets.use(message.controlnet) as controlnet,
            self._device,
            self.busy,
        ):
            self._inputs.embedded(controlnet, message.image, message.batch)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                names = self.names
                if not names:
                    self._stop.wait(POLL_S)
                    continue
                ticket = self._steps.pop(names)  # one that cannot be read is dropped below
                work = self._steps.claim(ticket) if ticket is not None else None
                if work is not None:
                    with log_fields(job=work.request.job_id, attempt=work.request.attempt):
                        self.serve([work, *self.gather(work)])
                elif ticket is not None:
                    metrics.CONTROLNET_STEPS.labels(ticket.controlnet, "superseded").inc()
            except Exception:  # nothing that a single request does may end the loop
                log.exception("a step was dropped")
                self._stop.wait(0.2)

    def gather(self, work: ClaimedStep) -> list[ClaimedStep]:
        """Steps of other jobs to compute in one pass with ``work``, if that pays."""
        request, controlnet = work.request, work.part.controlnet
        if not request.batch_key:
            return []
        company = self._companies.of(controlnet, request.batch_key)
        room, alone_s = company.room(request.rows), company.seconds(request.rows)
        if not room or alone_s is None:
            return []
        tickets = self._steps.collect_batch(controlnet, request, room) if work.queue_length else []
        if not tickets and len(self.sessions.by_controlnet().get(controlnet, ())) > 1:
            self._stop.wait(WAIT_SHARE * alone_s)
            tickets = self._steps.collect_batch(controlnet, request, room)
        return [claimed for ticket in tickets if (claimed := self._steps.claim(ticket)) is not None]

    def serve(self, works: list[ClaimedStep]) -> None:
        """Answer steps of one ControlNet: their residuals, or the error in their place."""
        held = list(works)
        with self._pulse:
            try:
                with self._limit(works[0].part.controlnet):
                    self._compute(held)
            except Exception as error:
                if len(held) == 1:
                    self._refuse(held[0], error)
                    return
                for work in held:  # one by one, so that a bad step is nobody else's
                    self.serve([work])

    def _limit(self, controlnet: str) -> AbstractContextManager[None]:
        """Nobody waits longer for a step than this; what takes longer hangs."""
        return self._watchdog.limit(f"a step of ControlNet {controlnet!r}", self._steps.wait_s)

    def _compute(self, held: list[ClaimedStep]) -> None:
        """``held`` grows by what is claimed on the way."""
        start, together = time.time(), len(held)
        for work in held:
            self.sessions.note(work.request.session, work.part.controlnet)
        with ExitStack() as stack:
            passes = [self._pass(stack, held)]
            for other in self._claim_others(stack, held):
                held.append(other)
                passes.append(self._pass(stack, [other]))
            with self._device, self.busy:
                self._hand_over(ResidualAggregator(passes), start)
        if len(passes) == 1 and len(passes[0].works) == together:
            rows = sum(work.request.rows for work in held)
            self._companies.of(held[0].part.controlnet, held[0].request.batch_key).note(
                rows, time.time() - start
            )
        metrics.CONTROLNET_BATCH_JOBS.labels(held[0].part.controlnet).observe(together)
        for one in passes:
            for _ in one.works:
                metrics.CONTROLNET_STEPS.labels(one.controlnet.name, "served").inc()
                metrics.CONTROLNET_STEP_S.labels(one.controlnet.name).observe(time.time() - start)

    def _pass(self, stack: ExitStack, works: Sequence[ClaimedStep]) -> BatchedForward:
        controlnet = stack.enter_context(self._controlnets.use(works[0].part.controlnet))
        with self._device, self.busy:
            return BatchedForward(controlnet, self._wanted(works), self._inputs)

    def _wanted(self, works: Sequence[ClaimedStep]) -> list[ClaimedStep]:
        """Those whose jobs have not moved on since they were claimed."""
        if time.time() - min(work.claimed_at for work in works) < CURRENT_STEP_CACHE_S:
            return list(works)
        flags = self._current([work.request for work in works])
        metrics.CONTROLNET_STEPS.labels(works[0].part.controlnet, "superseded").inc(flags.count(False))
        return [work for work, is_wanted in zip(works, flags, strict=True) if is_wanted]

    def _current(self, requests: Sequence[StepRequest]) -> list[bool]:
        """See `StepQueue.are_current`; without an answer nobody's work is thrown away."""
        try:
            return self._steps.are_current(requests)
        except RedisError:
            return [True] * len(requests)

    def _claim_others(self, stack: ExitStack, held: Sequence[ClaimedStep]) -> list[ClaimedStep]:
        """Further ControlNets of the jobs at hand that no other worker was free to take.

        They are claimed from the first ControlNet on, so that sums begin where diffusers' begin. A
        ControlNet that is
        not loaded is left to others: loading it would delay what is at hand.
        """
        found = []
        for work in held:
            request, part = work.request, work.part
            for other in request.parts:
                if other.position == part.position:
                    continue
                controlnet = stack.enter_context(self._controlnets.use_loaded(other.controlnet))
                claimed = self._steps.claim_part(request, other) if controlnet is not None else None
                if claimed is None:
                    break
                found.append(claimed)
        return found

    def _hand_over(self, joint: ResidualAggregator, start: float) -> None:
        if joint.is_shared:
            joint.keep(self._current)
        for index in joint.order():
            for share in joint.residuals(index):
                first = share.works[0]
                answer = self._answer(share.works, index, start)
                answer = answer.model_copy(update={"batch": share.batch, "hashes": share.hashes})
                self.sender.send(first.request, answer, share.residual, first.part.controlnet)

    def _refuse(self, work: ClaimedStep, error: Exception) -> None:
        request, controlnet = work.request, work.part.controlnet
        about = {
            "job": request.job_id,
            "attempt": request.attempt,
            "step": request.step,
            "controlnet": controlnet,
        }
        log.warning("step failed", extra={**about, "error": repr(error)})
        metrics.CONTROLNET_STEPS.labels(work.part.controlnet, "failed").inc()
        code = error.code if isinstance(error, SwiftError) else ControlNetFailed.code
        answer = self._answer([work], MID, time.time())
        refusal = answer.model_copy(update={"error": code, "detail": f"{type(error).__name__}: {error}"})
        self.sender.send(work.request, refusal, None, work.part.controlnet)

    def _answer(self, works: Sequence[ClaimedStep], index: int, start: float) -> StepResponse:
        return StepResponse(
            index=index,
            positions=[work.part.position for work in works],
            retry=works[0].request.retry,
            start_s=start,
            end_s=time.time(),
            worker=self._worker,
        )
