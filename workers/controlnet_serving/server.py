"""Serves steps of ControlNets: take one, collect what can share its forward pass, compute, hand over."""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

import torch

from shared import metrics
from shared.messaging.messages import AttachControlNet
from workers.controlnet_serving.batch_collector import BatchCollector
from workers.controlnet_serving.host import ServerHost
from workers.controlnet_serving.input_cache import InputCache
from workers.controlnet_serving.intake import StepIntake
from workers.controlnet_serving.lease_renewer import LeaseRenewer
from workers.controlnet_serving.recent_jobs import RecentJobs
from workers.controlnet_serving.sender import ResponseSender
from workers.controlnet_serving.step_computer import StepComputer
from workers.families.base_controlnet import ControlNet
from workers.runtime.model_cache import ModelCache
from workers.transport.protocol import QueuedStep
from workers.transport.redis_client.blocking_pop import POLL_S
from workers.transport.step_queue import ClaimedStep, StepQueue
from workers.transport.transport import ResidualTransport

log = logging.getLogger(__name__)

#: A step that is being served, and the sending of its residuals, may take so long when the worker stops:
#: less than supervisors wait. Another worker computes it otherwise.
STOP_S = 5.0
#: Pause after an unexpected error.
ERROR_PAUSE_S = 0.2


class ControlNetServer:
    """One device that computes steps of ControlNets in the order in which they were sent, for every job."""

    def __init__(
        self,
        served_controlnets: Sequence[str],
        controlnets: ModelCache[ControlNet],
        steps: StepQueue,
        transport: ResidualTransport,
        batch_delay: float,
        host: ServerHost | None = None,
    ) -> None:
        """``batch_delay``: the share by which a step may take longer so that other jobs' steps join it.

        ``host``: by default a process that does nothing else.
        """
        host = host or ServerHost()
        self.controlnets = controlnets
        self.steps = steps
        self.recent_jobs = RecentJobs()
        self.inputs = InputCache(transport)
        controlnets.memory.count(self.inputs.device_bytes, self.inputs.release_device)
        self._served_controlnets = list(served_controlnets)
        self._turns, self._loads_for_steps = host.turns, host.loads_for_steps
        self._watchdog, self._device_loss = host.watchdog, host.device_loss
        self._lease = LeaseRenewer(steps, lambda: self.available_controlnets, self._watchdog.overdue)
        self.sender = ResponseSender(transport, self._lease, self._device_loss)
        self._collector = BatchCollector(steps, self.recent_jobs, batch_delay)
        self._computer = StepComputer(controlnets, steps, self.inputs, self.sender, self._collector, host)
        self._redis_waits = steps.redis_waits, transport.redis_waits
        self._one_at_a_time = threading.RLock()  # steps: the thread of a job may serve one, too
        self._stop = threading.Event()
        self._intake = StepIntake(steps, host.turns, lambda: self.available_controlnets)
        self._device_loss.on_loss(self._stop.set)
        self._thread = threading.Thread(target=self._run, name="controlnet server", daemon=True)

    @property
    def available_controlnets(self) -> list[str]:
        """The ControlNets that are served now: those that could be loaded, or were not tried yet.

        Where none is loaded for a step: the loaded ones.
        """
        failed = self.controlnets.failed()
        loaded = self._served_controlnets if self._loads_for_steps else self.controlnets.names()
        return [name for name in self._served_controlnets if name in loaded and name not in failed]

    def start(self, worker: str) -> None:
        """Serve in a thread of its own; responses name ``worker``."""
        self._computer.worker = worker
        self._lease.start()
        self.sender.start()
        self._thread.start()

    def drain(self) -> None:
        """Take no more steps; returns at once."""
        self._stop.set()
        self._intake.close()

    def interrupt(self) -> None:
        """Have the server look now what it may serve: it may be waiting for a step. Returns at once."""
        self._intake.interrupt()

    def stop(self) -> None:
        """Finish the step that is being served and take no more; returns after `STOP_S` at most.

        What waits for Redis then is left to the end of the process: other workers compute the step. A device
        that hangs ends the process, with the status of the watchdog.
        """
        self.drain()
        end = time.monotonic() + STOP_S
        self._thread.join(STOP_S)
        has_sent = not self._thread.is_alive() and self.sender.stop(max(end - time.monotonic(), 0.0))
        if not has_sent and self._waits_for_redis():
            log.warning("stopped in the middle of a step: the residual Redis does not answer")
        elif not has_sent:
            self._watchdog.end(f"a step of a ControlNet did not end {STOP_S:g} s after the worker's own end")
        self._lease.stop()

    def _waits_for_redis(self) -> bool:
        """Whether what still runs waits for Redis; else it waits for the device."""
        if self._thread.is_alive():
            return any(waits.includes(self._thread) for waits in self._redis_waits)
        return self.sender.waits_for_redis

    def attach(self, message: AttachControlNet) -> None:
        """Prepare for a job's first step: load the ControlNet and embed the control image.

        Where steps have to wait for other work, nothing is embedded while that runs; where no ControlNet is
        loaded for steps, none is for this.
        """
        if not self.steps.may_compute(message.platform):
            return
        self.recent_jobs.note(message.job_id, message.controlnet)
        self._device_loss.check()
        self.inputs.fetch(message.image)  # before the device is taken: others compute meanwhile
        with (
            self._computer.limit(message.controlnet),
            self._device_loss.translate_errors(),
            self._use(message.controlnet) as controlnet,
        ):
            if controlnet is not None:
                self.controlnets.memory.retry_when_full(lambda: self._embed(controlnet, message))

    def _use(self, name: str) -> AbstractContextManager[ControlNet | None]:
        return self.controlnets.use(name) if self._loads_for_steps else self.controlnets.use_loaded(name)

    def _embed(self, controlnet: ControlNet, message: AttachControlNet) -> None:
        with self._turns.step() as may_serve:
            if may_serve:
                self._computer.embed(controlnet, message.image, message.batch)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if not self._turns.wait(POLL_S):
                    self._report_done()  # of the steps before the job that has the device
                    continue
                if names := self.available_controlnets:
                    self.serve_next(names)
                else:
                    self._stop.wait(POLL_S)
            except Exception:  # a single step must not end the loop
                log.exception("a step was dropped")
                self._stop.wait(ERROR_PAUSE_S)

    def serve_next(self, names: Sequence[str]) -> int:
        """Serve the oldest queued step, and others with it; returns how many jobs shared its forward pass.

        0 if nothing came within `POLL_S`, or if what came is not to be computed any more. Room for its
        residuals is waited for before one is taken: then no job waits for the device while they are sent.
        """
        limit = self._watchdog.limit("a step of a ControlNet", self.steps.wait_s)
        with limit, self._device_loss.translate_errors(), self._one_at_a_time:
            self._computer.wait_for_room()
        self._report_done()
        if not self.sender.wait_for_room(POLL_S):
            return 0
        with self._intake.next(names) as queued:
            if queued is None:
                return 0
            with self._one_at_a_time:
                return self._serve_queued(queued)

    def has_overdue(self) -> bool:
        """Whether a step of a loaded ControlNet waits for workers with a job."""
        return self.steps.has_overdue(self._loaded())

    @torch.inference_mode(False)  # what is kept of a job's inputs is used by this server's thread, too
    def serve_overdue(self) -> bool:
        """Serve a step that waits for workers with a job; whether there was one.

        Called by the thread of a job, which has the device. Nothing is loaded for it.
        """
        if self._stop.is_set() or not self.sender.wait_for_room(0.0):
            return False
        loaded = self._loaded()
        with ExitStack() as in_use, self._device_loss.translate_errors(), self._one_at_a_time:
            held = [name for name in loaded if in_use.enter_context(self.controlnets.use_loaded(name))]
            self._computer.wait_for_room()
            step = self.steps.claim_overdue(held)
            if step is None:
                return False
            self.serve([step])
            return True

    def _loaded(self) -> list[str]:
        loaded = self.controlnets.names()
        return [name for name in self.available_controlnets if name in loaded]

    def _serve_queued(self, queued: QueuedStep) -> int:
        step = self.steps.claim(queued)
        if step is None:
            metrics.CONTROLNET_STEPS.labels(queued.controlnet, "superseded").inc()
            return 0
        batch = [step, *self._collector.collect(step)]
        self.serve(batch)
        return len(batch)

    def serve(self, batch: Sequence[ClaimedStep]) -> None:
        """Respond to steps of one ControlNet with their residuals, or with an error in their place."""
        for step in batch:
            self.recent_jobs.note(step.request.root_job_id, step.part.controlnet)
        with self._lease:
            self._computer.serve(batch)

    def _report_done(self) -> None:
        with self._device_loss.translate_errors(), self._one_at_a_time:
            self._computer.report_done()
