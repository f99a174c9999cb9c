"""Computes the steps of one batch, and those of other ControlNets that join them, and hands residuals over.

Nothing here waits for the device, but for the step before the last: on a GPU a step is submitted while the
one before it is computed, and its times become known later (`workers.devices.timer`).

Nobody computes for an attempt that is superseded, or for a job that is past the step: a claim checks that.
If more than `CURRENT_STEP_CACHE_S` pass until the forward pass can begin (a ControlNet is loaded, the
device is busy), it is asked again, and once more before the first residual if jobs share the pass. For
a job alone it is not: little is left to compute by then, and asking would delay every first residual. A
forward pass that takes longer than `FORWARD_CHECK_S` ends between two residuals once nobody waits for it.
"""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

from redis.exceptions import RedisError

from shared import metrics
from shared.errors import DeviceFull, DeviceLost
from workers.controlnet_serving.aggregate import ResidualAggregator
from workers.controlnet_serving.batch_collector import BatchCollector
from workers.controlnet_serving.forward import BatchedForward
from workers.controlnet_serving.host import ServerHost
from workers.controlnet_serving.input_cache import InputCache
from workers.controlnet_serving.responses import error_response, residual_response
from workers.controlnet_serving.sender import QueuedResponse, ResponseSender
from workers.controlnet_serving.step_recorder import StepRecorder
from workers.devices.steps_in_flight import StepsInFlight
from workers.devices.timer import DeviceTimer, SpanStart
from workers.families.base_controlnet import ControlNet
from workers.runtime.model_cache import ModelCache
from workers.transport.protocol import StepRequest
from workers.transport.step_queue import ClaimedStep, StepQueue

log = logging.getLogger(__name__)

#: That a step is current is believed for so long: to ask takes a fraction of a millisecond.
CURRENT_STEP_CACHE_S = 0.02
#: While a forward pass lasts, it is asked so often whether anybody still waits for its residuals.
FORWARD_CHECK_S = 0.5


class StepComputer:
    """The device of a ControlNet server; one thread at a time has steps computed."""

    def __init__(
        self,
        controlnets: ModelCache[ControlNet],
        steps: StepQueue,
        inputs: InputCache,
        sender: ResponseSender,
        collector: BatchCollector,
        host: ServerHost,
    ) -> None:
        self.worker = ""  # named in responses
        self._controlnets, self._steps, self._inputs = controlnets, steps, inputs
        self._sender, self._collector = sender, collector
        self._watchdog, self._device_loss, self._busy = host.watchdog, host.device_loss, host.activity.serve
        self._timer = DeviceTimer(inputs.device)
        self._in_flight = StepsInFlight(inputs.device)
        self._recorder = StepRecorder(self._timer, collector, self._busy)
        self._device = threading.Lock()

    def limit(self, controlnet: str) -> AbstractContextManager[None]:
        """No job waits longer for a step than this, so a step that takes longer hangs."""
        return self._watchdog.limit(f"a step of ControlNet {controlnet!r}", self._steps.wait_s)

    def embed(self, controlnet: ControlNet, image: str, rows: int) -> None:
        """Have the control image ``image`` at hand for steps of ``rows`` rows; raises `InputsMissing`."""
        with self._device, self._busy:
            self._inputs.embedded(controlnet, image, rows)

    def wait_for_room(self) -> None:
        """Wait until another step may be submitted to the device."""
        self._in_flight.wait_for_room()

    def report_done(self) -> None:
        """Record the times of the steps that the device has computed."""
        self._timer.report_done()

    def serve(self, batch: Sequence[ClaimedStep]) -> None:
        """Respond to steps of one ControlNet with their residuals, or with an error in their place."""
        claimed = list(batch)
        error = self._try_to_compute(claimed)
        if error is None:
            return
        is_full = isinstance(error, DeviceFull)
        if is_full and len(batch) > 1:
            self._collector.note_full(batch)
        if isinstance(error, DeviceLost) or (len(claimed) == 1 and not is_full):
            for step in claimed:
                self._respond_with_error(step, error)
            return
        for step in claimed:  # each by itself, so that one that fails takes no other with it
            alone = [step]
            if (error := self._try_to_compute(alone)) is not None:
                for failed in alone:
                    self._respond_with_error(failed, error)

    def _try_to_compute(self, claimed: list[ClaimedStep]) -> Exception | None:
        """Compute steps and hand over; an error is returned, so that nothing holds what its frames held."""
        try:
            with self.limit(claimed[0].part.controlnet), self._device_loss.translate_errors():
                self._device_loss.check()
                self._compute(claimed)
        except DeviceFull as error:
            self._controlnets.memory.release(error)
            return DeviceFull(f"{error}; {self._controlnets.memory.describe()}")
        except Exception as error:
            return error.with_traceback(None)
        return None

    def _compute(self, claimed: list[ClaimedStep]) -> None:
        """Compute a batch and hand its residuals over; ``claimed`` grows by what is claimed meanwhile."""
        start, batch = self._timer.start(), list(claimed)
        with ExitStack() as in_use:
            forwards = [self._forward(in_use, batch)]
            for other in self._claim_other_controlnets(in_use, batch):
                claimed.append(other)
                forwards.append(self._forward(in_use, [other]))
            with self._device, self._busy:
                self._hand_over(ResidualAggregator(forwards), start)
                span = self._timer.end(start)
        self._in_flight.add()
        self._recorder.submitted(batch, forwards, span)

    def _forward(self, in_use: ExitStack, steps: Sequence[ClaimedStep]) -> BatchedForward:
        controlnet = in_use.enter_context(self._controlnets.use(steps[0].part.controlnet))
        with self._device, self._busy:
            return BatchedForward(controlnet, self._drop_superseded(steps), self._inputs)

    def _claim_other_controlnets(self, in_use: ExitStack, steps: Sequence[ClaimedStep]) -> list[ClaimedStep]:
        """Claim further ControlNets of these jobs that no other worker was free to take.

        They are claimed from the job's first ControlNet on, so that sums begin where diffusers' begin. One
        that is not loaded is left to other workers: loading it would delay the steps at hand. What the asking
        worker has loaded, too, stays in its queue: it computes one while this worker computes another.
        """
        found = []
        for step in steps:
            for part in step.request.parts:
                if part.position == step.part.position or part.position in step.request.held:
                    continue
                controlnet = in_use.enter_context(self._controlnets.use_loaded(part.controlnet))
                claimed = self._steps.claim_call(step.request, part) if controlnet is not None else None
                if claimed is None:
                    break
                found.append(claimed)
        return found

    def _hand_over(self, aggregator: ResidualAggregator, start: SpanStart) -> None:
        if aggregator.is_shared:
            aggregator.drop_superseded(self._are_current)
        submitted: list[QueuedResponse] = []
        asked_at = time.monotonic()
        for index in aggregator.order:
            if time.monotonic() - asked_at > FORWARD_CHECK_S:
                asked_at = time.monotonic()
                if not any(self._are_current(aggregator.requests)):
                    break
            for aggregated in aggregator.residuals(index):
                first, computed = aggregated.steps[0], self._timer.end(start)
                is_alike = first.request.platform == self._steps.platform_digest
                platform = None if is_alike else self._steps.platform
                response = residual_response(aggregated, index, self.worker, platform)
                controlnet = first.part.controlnet
                residual = aggregated.residual
                submitted.append(QueuedResponse(first.request, response, residual, controlnet, computed))
                if computed.end.is_done:
                    self._sender.send(*submitted)
                    submitted.clear()
        self._sender.send(*submitted)  # where the device is behind, all of them: they are sent together

    def _drop_superseded(self, steps: Sequence[ClaimedStep]) -> list[ClaimedStep]:
        """The steps whose jobs are not past them."""
        if time.time() - min(step.claimed_at for step in steps) < CURRENT_STEP_CACHE_S:
            return list(steps)
        flags = self._are_current([step.request for step in steps])
        metrics.CONTROLNET_STEPS.labels(steps[0].part.controlnet, "superseded").inc(flags.count(False))
        return [step for step, is_current in zip(steps, flags, strict=True) if is_current]

    def _are_current(self, requests: Sequence[StepRequest]) -> list[bool]:
        """As `StepQueue.are_current`; while Redis does not answer, all are taken for current."""
        try:
            return self._steps.are_current(requests)
        except RedisError:
            return [True] * len(requests)

    def _respond_with_error(self, step: ClaimedStep, error: Exception) -> None:
        request, controlnet = step.request, step.part.controlnet
        fields = {"job": request.job_id, "attempt": request.attempt, "step": request.step}
        log.warning("step failed", extra={**fields, "controlnet": controlnet, "error": repr(error)})
        metrics.CONTROLNET_STEPS.labels(controlnet, "failed").inc()
        self._sender.send(QueuedResponse(request, error_response(step, error, self.worker), None, controlnet))
