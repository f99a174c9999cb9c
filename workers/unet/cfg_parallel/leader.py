"""The leader's side of CFG parallelism: find a follower, send it steps, take its predictions."""

import logging
import time
from collections.abc import Sequence
from types import TracebackType

from redis.exceptions import RedisError
from torch import Tensor

from shared import metrics
from shared.jobs.receipt import WorkerReceipt
from shared.periodic_thread import PeriodicThread
from workers.devices.base import Pending
from workers.unet.attempt_context import AttemptContext
from workers.unet.cfg_parallel.channel import branch_channel
from workers.unet.cfg_parallel.messages import READY, BranchPrediction, BranchStep, FollowBranch
from workers.unet.cfg_parallel.policy import idle_workers, may_split, should_split, waiting_jobs

log = logging.getLogger(__name__)


class Leader:
    """Offers the branch to idle workers while ``with Leader(…) as leader:`` runs; mostly none is idle.

    Whatever goes wrong with a follower costs time, never the job: the caller computes the branch itself.
    """

    def __init__(self, context: AttemptContext, control_maps: list[str]) -> None:
        """``control_maps``: sha256 of the image of each ControlNet, for the follower."""
        self._context = context
        self._control_maps = control_maps
        self._timings = context.worker.cfg_timings
        self._channel = branch_channel(context.worker, context.job_id, context.attempt)
        self._was_offered = False
        self._first_wait_s = self._timings.first_wait_s
        self._follower: BranchPrediction | None = None  # its response when it was ready
        self.receipt: WorkerReceipt | None = None  # of the follower, once it has predicted a step
        self._requested: BranchStep | None = None
        self._requested_at = 0.0
        self._offering = PeriodicThread(
            "offer", self._timings.offer_every_s, self._try_offer, call_at_start=True
        )

    def __enter__(self) -> "Leader":
        context = self._context
        if may_split(context.spec, context.model):
            self._offering.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._offering.stop(0)
        if self._was_offered:
            self._release()

    def has_follower(self) -> bool:
        """Whether a worker is ready for the next step; waits for a moment before the first one."""
        if self._follower is None and self._was_offered and not self._offering.is_stopping:
            received = self._receive(self._first_wait_s)
            self._first_wait_s = 0.0
            if received is not None and received[0].step == READY:
                self._accept(received[0])
        return self._follower is not None

    def request(self, step: int, total: int, t: float, x: Tensor, loras: Sequence[str]) -> Pending[None]:
        """Send the unconditional branch's model input, ``(n, c, h/f, w/f)``, and the LoRAs in effect.

        It is sent once it is in the host's memory: now, or when the result is asked for.
        """
        requested = BranchStep(step=step, total=total, t=t, loras=list(loras))
        self._requested = requested
        self._requested_at = time.monotonic()
        return self._context.worker.device.to_host(x).then(lambda copy: self._send(requested, copy))

    def take(self, like: Tensor) -> Tensor | None:
        """The prediction of the requested step, on the device and in the type of ``like``.

        ``None``: compute it here. Called when the leader's own branch is done, which also says how long is
        too long.
        """
        if self._follower is None:
            return None
        assert self._requested is not None, "take follows request"
        self._context.worker.device.record().wait()  # the leader's own branch
        own_s = time.monotonic() - self._requested_at
        start = time.time()
        timeout_s = max((self._timings.wait_factor - 1) * own_s, self._timings.min_wait_s)
        received = self._receive_step(self._requested.step, timeout_s)
        timeline = self._context.timeline
        timeline.add_wait("wait for uncond branch", start, time.time())
        if received is None:
            waited_s = time.monotonic() - self._requested_at
            self._lose_follower(f"no response {waited_s:.1f} s after the request")
            return None
        response, prediction = received
        if response.is_leaving:
            self._lose_follower("it was preempted or failed")
            return None
        if prediction is None:
            return None
        timeline.add("uncond branch", response.start_s, response.end_s, response.worker)
        metrics.CFG_BRANCHES.labels("follower").inc()
        self.receipt = self._follower.receipt
        return self._context.worker.device.from_host(prediction).to(like.dtype)

    def _send(self, requested: BranchStep, x: Tensor) -> None:
        try:
            self._channel.send_step(requested, x)
        except RedisError:
            self._lose_follower("the residual server does not answer")

    def _accept(self, ready: BranchPrediction) -> None:
        self._follower = ready
        self._offering.stop(0)
        if ready.model_sha256 != self._context.model.sha256:
            self._lose_follower("it has other weights of the model")

    def _receive_step(self, step: int, timeout_s: float) -> tuple[BranchPrediction, Tensor | None] | None:
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            received = self._receive(left_s)
            if received is not None and (received[0].step == step or received[0].is_leaving):
                return received
        return None

    def _receive(self, timeout_s: float) -> tuple[BranchPrediction, Tensor | None] | None:
        try:
            return self._channel.receive(timeout_s)
        except RedisError:
            log.warning("no response from the follower: the residual server does not answer")
            return None

    def _lose_follower(self, reason: str) -> None:
        """Go on alone for the rest of the job: what the follower still sends belongs to earlier steps."""
        log.info(
            "follower lost", extra={"follower": self._follower and self._follower.worker, "reason": reason}
        )
        metrics.CFG_FOLLOWERS_LOST.inc()
        self._follower, self._was_offered = None, False
        self._release()

    def _release(self) -> None:
        try:
            self._channel.release()
        except RedisError:
            log.warning("follower not released: it leaves when this attempt's lease is over")

    def _try_offer(self) -> None:
        try:
            self._was_offered = self._offer() or self._was_offered
        except RedisError:
            log.warning("no follower asked for: Redis does not answer")

    def _offer(self) -> bool:
        """Ask an idle worker to follow if the policy says so; returns whether it did."""
        context = self._context
        model, redis = context.spec.model, context.worker.jobs.redis
        waiting = waiting_jobs(redis, [model])
        idle = idle_workers(redis, model, context.timeline.worker)
        if not should_split(context.spec, waiting=waiting, idle=idle):
            return False
        message = FollowBranch(
            job_id=context.job_id,
            attempt=context.attempt,
            ordinal=context.ordinal,
            control_maps=self._control_maps,
        )
        context.worker.send_follow(message, model, self._timings.offer_every_s)
        return True
