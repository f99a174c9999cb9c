"""A second UNet worker that computes the unconditional half of a job; most of the time there is none."""

import logging
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from redis.exceptions import RedisError
from torch import Tensor

from shared import metrics
from shared.jobs.receipt import WorkerReceipt
from shared.messaging.messages import FollowBranch
from shared.periodic_thread import PeriodicThread
from workers.families.guidance import is_guided
from workers.unet.attempt_context import AttemptContext
from workers.unet.cfg_parallel.channel import READY, BranchPrediction, BranchStep, branch_channel
from workers.unet.cfg_parallel.policy import idle_workers, may_split, should_split, waiting_jobs

log = logging.getLogger(__name__)

#: Between two looks whether a worker could help now; a request that nobody takes expires as soon.
OFFER_EVERY_S = 2.0
#: An idle worker needs about as long as we do to encode the prompt, and hears of the job a little later.
FIRST_WAIT_S = 0.1
#: The assistant gets as long as our own half took, times this, and at least the seconds below.
PATIENCE, LEAST_WAIT_S = 3.0, 0.5
#: Shorter waits are not worth a bar in the timeline.
WAIT_SHOWN_S = 0.0005
#: The control maps of the job, which are computed when they are first asked for.
ControlMaps = Callable[[], list[str]]


class Leader:
    """The end of the worker that runs the job: ``with Leader(…) as leader:`` looks for a follower meanwhile.

    Whatever goes wrong with the follower costs time, never the job: the caller computes the branch itself.
    """

    def __init__(self, context: AttemptContext, control_maps: ControlMaps) -> None:
        self._context = context
        self._control_maps = control_maps
        self._channel = branch_channel(context.worker, context.job_id, context.attempt)
        self._timeline = context.timeline
        self._was_offered = False
        self._first_wait_s = FIRST_WAIT_S
        self._follower: BranchPrediction | None = None  # as it introduced itself when it was ready
        self.receipt: WorkerReceipt | None = None  # of the follower, once it has predicted a branch
        self._requested: BranchStep | None = None
        self._requested_at = 0.0
        self._offering = PeriodicThread("offer", OFFER_EVERY_S, self._try_offer, call_at_start=True)

    def __enter__(self) -> "Leader":
        context = self._context
        if is_guided(context.model.guidance_scale(context.spec)) and may_split(context.spec):
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
            answer = self._receive(self._first_wait_s)
            self._first_wait_s = 0.0
            if answer is not None and answer[0].step == READY:
                self._accept(answer[0])
        return self._follower is not None

    def request(self, step: int, total: int, t: float, x: Tensor, loras: Sequence[str]) -> None:
        """Send the unconditional half's model input, ``(n, c, h/f, w/f)``, and the LoRAs in effect."""
        self._requested = BranchStep(step=step, total=total, t=t, loras=list(loras))
        self._requested_at = time.monotonic()
        try:
            self._channel.ask(self._requested, x)
        except RedisError:
            self._lose("the residual server does not answer")

    def take(self, like: Tensor) -> Tensor | None:
        """The prediction of the step that was asked for, on the device and in the type of ``like``.

        ``None``: compute it here. Called when our own half is done, which also says how long is too long.
        """
        if self._follower is None:
            return None
        assert self._requested is not None, "take follows ask"
        own_s = time.monotonic() - self._requested_at
        start = time.time()
        answer = self._answer_to(self._requested.step, max((PATIENCE - 1) * own_s, LEAST_WAIT_S))
        if time.time() - start > WAIT_SHOWN_S:
            self._timeline.add("wait for half", start, time.time())
        if answer is None:
            self._lose(f"no answer {time.monotonic() - self._requested_at:.1f} s after it was asked")
            return None
        head, prediction = answer
        if head.leaving:
            self._lose("it is wanted elsewhere")
            return None
        if prediction is None:
            return None
        self._timeline.add("half", head.start_s, head.end_s, head.worker)
        metrics.HALVES.labels("assisted").inc()
        self.receipt = self._follower.receipt
        return prediction.to(like.device, like.dtype)

    def _accept(self, ready: BranchPrediction) -> None:
        self._follower = ready
        self._offering.stop(0)
        if ready.model_sha256 != self._context.model.sha256:
            self._lose("it has other weights of the model")

    def _answer_to(self, step: int, timeout_s: float) -> tuple[BranchPrediction, Tensor | None] | None:
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            answer = self._receive(left_s)
            if answer is not None and (answer[0].step == step or answer[0].leaving):
                return answer
        return None

    def _receive(self, timeout_s: float) -> tuple[BranchPrediction, Tensor | None] | None:
        try:
            return self._channel.receive(timeout_s)
        except RedisError:
            log.warning("assistant not heard: the residual server does not answer")
            return None

    def _lose(self, why: str) -> None:
        """Go on alone, for the rest of the job: what it still sends belongs to steps long gone."""
        log.info("assistant lost worker=%s why=%s", self._follower and self._follower.worker, why)
        metrics.HALVES.labels("lost").inc()
        self._follower, self._was_offered = None, False
        self._release()

    def _release(self) -> None:
        try:
            self._channel.dismiss()
        except RedisError:
            log.warning("assistant not dismissed; it leaves when this attempt's lease is over")

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
        if not should_split(context.spec, waiting=waiting, others=idle):
            return False
        message = FollowBranch(
            job_id=context.job_id,
            attempt=context.attempt,
            ordinal=context.ordinal,
            maps=self._control_maps(),
        )
        context.worker.send_follow(message, model)
        return True
