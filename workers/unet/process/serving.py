"""What a UNet worker does for other workers' jobs while it has none: serves steps of loaded ControlNets."""

import logging
import queue
import threading
import time
from contextlib import suppress

from redis.exceptions import RedisError

from shared.messaging.messages import AttachControlNet
from shared.periodic_thread import PeriodicThread
from shared.registry.serving import SERVING_S, note_serving
from workers.controlnet_serving.host import ServerHost
from workers.controlnet_serving.server import ControlNetServer
from workers.transport.step_queue import StepQueue
from workers.unet.process.device_turns import DeviceTurns
from workers.unet.worker import UNetWorker

log = logging.getLogger(__name__)

#: Attachments that may wait: a worker that is behind prepares at the first step, as without them.
MAX_ATTACHMENTS = 16
#: How often dispatch is told that this worker serves.
SIGN_EVERY_S = SERVING_S / 4
#: How often an idle worker looks whether to load a ControlNet that was lately wanted.
LOAD_EVERY_S = 1.0
#: How often a worker looks whether steps of its ControlNets are overdue.
LOOK_EVERY_S = 0.5


class IdleServing:
    """Serves the ControlNets of `UNetWorker.served_controlnets` that are loaded, while no job waits."""

    def __init__(self, worker: UNetWorker, turns: DeviceTurns) -> None:
        self._controlnets, self._residency, self._turns = worker.controlnets, worker.residency, turns
        self._served_controlnets = list(worker.served_controlnets)
        # The requests of the worker's own jobs and its claims of others' are those of two claimants.
        self._steps = steps = StepQueue(worker.residual, worker.settings, worker.device)
        host = ServerHost(
            turns=turns,
            loads_for_steps=False,
            activity=worker.activity,
            watchdog=worker.watchdog,
            device_loss=worker.device_loss,
        )
        delay = worker.settings.controlnet_batch_delay
        self._server = ControlNetServer(
            self._served_controlnets, worker.controlnets, steps, worker.transport, delay, host
        )
        turns.on_job(self._server.interrupt)
        self._overdue_steps = worker.overdue_steps
        self._overdue_steps.connect(self._server.has_overdue, self._server.serve_overdue)
        self._look = PeriodicThread("overdue steps", LOOK_EVERY_S, self._look_for_overdue)
        self._redis, self._live_workers = worker.jobs.renewal_redis, worker.live_workers
        self._activity, self._name = worker.activity, ""
        self._sign = PeriodicThread("serving sign", SIGN_EVERY_S, self._note_serving)
        self._is_draining = False
        self._attachments: queue.Queue[AttachControlNet] = queue.Queue(MAX_ATTACHMENTS)
        self._thread = threading.Thread(target=self._prepare, name="controlnet attachments", daemon=True)

    def start(self, name: str) -> None:
        """Serve from now on, as the worker ``name``."""
        self._name = name
        self._load_first()
        self._server.start(name)
        self._thread.start()
        self._sign.start()
        self._look.start()

    def drain(self) -> None:
        """Take no more steps, and load nothing more; returns at once."""
        self._is_draining = True
        self._server.drain()

    def stop(self) -> None:
        """Finish the step that is being served, and stop."""
        self.drain()
        self._sign.stop(SIGN_EVERY_S)
        self._look.stop(LOOK_EVERY_S)
        self._server.stop()

    def attach(self, message: AttachControlNet) -> None:
        """Prepare for another worker's job, as far as that delays no job of this one; returns at once."""
        try:
            self._attachments.put_nowait(message)
        except queue.Full:
            log.info("attachment dropped: others wait", extra={"controlnet": message.controlnet})

    def served_now(self) -> list[str]:
        """The ControlNets whose steps it takes while no job waits."""
        return [] if self._is_draining else self._server.available_controlnets

    def attached_jobs(self) -> dict[str, list[str]]:
        """Jobs of other workers that it lately served steps of, by ControlNet."""
        return self._server.recent_jobs.by_controlnet()

    def _load_first(self) -> None:
        """Load one ControlNet ahead of the first job, unless a ControlNet worker is there for it."""
        first = self._served_controlnets[0]
        try:
            workers = self._live_workers.read()
        except RedisError:
            return
        if not any(one.kind == "controlnet" and one.takes_work_for("controlnet", first) for one in workers):
            self._residency.wanted(first)

    def _note_serving(self) -> None:
        """Have dispatch prefer other workers that are as near to a job."""
        if self._activity.serve.ended_since(time.monotonic() - SIGN_EVERY_S):
            note_serving(self._redis, self._name)

    def _look_for_overdue(self) -> None:
        self._load_for_overdue()
        if not self._turns.wait(0.0):  # else they are taken from their queues
            self._overdue_steps.look()

    def _load_for_overdue(self) -> None:
        """Load what no worker has loaded and a step of another's job waits for, beside a job of this one.

        Of all workers that may hold it one loads it, while its sign lasts (`StepQueue.begin_load`). If it is
        lost or cannot load it, another one does when the sign has expired, or the requester gives up.
        """
        loaded = self._controlnets.names()
        unloaded = [name for name in self._served_controlnets if name not in loaded]
        for name in self._steps.find_overdue(unloaded) if unloaded and not self._is_draining else ():
            if self._residency.is_loading(name):
                self._steps.go_on_loading(name)
            elif self._residency.can_load(name) and self._steps.begin_load(name):
                self._residency.load_for_step(name)

    def _prepare(self) -> None:
        while not self._is_draining:
            try:
                if self._turns.wait(0.0):
                    self._residency.load_next()
            except Exception:  # attachments are taken all the same
                log.exception("nothing loaded ahead")
            with suppress(queue.Empty):
                self._prepare_for(self._attachments.get(timeout=LOAD_EVERY_S))

    def _prepare_for(self, message: AttachControlNet) -> None:
        self._residency.wanted(message.controlnet)  # it is loaded once no job waits
        is_served = (
            message.controlnet in self._served_controlnets and message.controlnet in self._controlnets.names()
        )
        if is_served and self._turns.wait(0.0):
            try:
                self._server.attach(message)
            except Exception:  # the first step prepares what is missing, or says what is wrong
                log.exception("not prepared", extra={"controlnet": message.controlnet})
