"""The leader's side of CFG parallelism: find a follower, send it steps, take its predictions."""

import logging
import time
from collections.abc import Sequence
from types import TracebackType

from redis.exceptions import RedisError
from torch import Tensor

from shared import metrics
from shared.jobs.receipt import WorkerReceipt
from workers.devices.base import Pending
from workers.unet.attempt_context import AttemptContext
from workers.unet.cfg_parallel.controlnet_check import as_used_here, why_refused
from workers.unet.cfg_parallel.follower_search import FollowerSearch
from workers.unet.cfg_parallel.messages import BranchPrediction, BranchStep
from workers.unet.cfg_parallel.policy import may_split
from workers.unet.output.receipt import worker_receipt

log = logging.getLogger(__name__)


class Leader:
    """Offers the branch to idle workers while ``with Leader(…) as leader:`` runs; mostly none is idle.

    Whatever goes wrong with a follower costs time, never the job: the caller computes the branch itself, and
    another worker is searched for.
    """

    def __init__(self, context: AttemptContext, control_maps: list[str]) -> None:
        """``control_maps``: sha256 of the image of each ControlNet, for the follower."""
        self._context = context
        self._control_maps = control_maps
        self._timings = context.worker.cfg_timings
        self._may_split = may_split(context.spec, context.model)
        self._excluded: set[str] = set()  # names of workers that follow this attempt no more
        self._search = self._new_search()
        self._first_wait_s = self._timings.first_wait_s
        self._follower: BranchPrediction | None = None  # its response when it was ready
        self.receipt: WorkerReceipt | None = None  # of the followers, once one has predicted a step
        self._requested: BranchStep | None = None
        self._requested_at = 0.0

    def __enter__(self) -> "Leader":
        if self._may_split:
            self._search.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._search.end()

    def has_follower(self) -> bool:
        """Whether a worker is ready for the next step; waits for a moment before the first one."""
        if self._follower is None and self._search.is_waiting:
            ready = self._search.wait_for_ready(self._first_wait_s)
            self._first_wait_s = 0.0
            if ready is not None:
                self._accept(ready)
        return self._follower is not None

    def request(self, step: int, total: int, t: float, x: Tensor, loras: Sequence[str]) -> Pending[None]:
        """Send the unconditional branch's model input, ``n`` rows, and the LoRAs in effect.

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
            return None
        response, prediction = received
        if response.is_leaving:
            reason = "it was preempted" if response.is_preempted else "it failed"
            self._lose_follower(reason, may_return=response.is_preempted)
            return None
        if prediction is None:
            return None
        used = as_used_here(self._context, response.controlnets, self._follower.receipt)
        if (refused := why_refused(self._context, used)) is not None:
            self._lose_follower(refused)
            return None
        self._context.used_controlnets.record_follower(used)
        timeline.add("uncond branch", response.start_s, response.end_s, response.worker)
        metrics.CFG_BRANCHES.labels("follower").inc()
        self.receipt = self._follower.receipt
        return self._context.worker.device.from_host(prediction).to(like.dtype)

    def _send(self, requested: BranchStep, x: Tensor) -> None:
        try:
            self._search.channel.send_step(requested, x)
        except RedisError:
            self._lose_follower("the residual server does not answer", may_return=True)

    def _accept(self, ready: BranchPrediction) -> None:
        """Take a worker as the follower, unless the receipt could not name it.

        The receipt has one ``cfg_follower``: later followers must compute with what the first one did.
        """
        self._follower = ready
        if ready.model_sha256 != self._context.model.sha256:
            self._lose_follower("it has other weights of the model")
        elif self._has_other_configs(ready):
            self._lose_follower("it has other configs or tokenizers of the model")
        elif self._context.spec.is_exact and not self._is_alike(ready):
            self._lose_follower("an exact job is computed on one platform")
        elif self.receipt is not None and ready.receipt != self.receipt:
            self._lose_follower("it computes with something else than the follower before it")

    def _has_other_configs(self, ready: BranchPrediction) -> bool:
        """Other versions of libraries write other configs, and older workers tell of none."""
        model = self._context.model
        if ready.configs_sha256 in ("", model.configs_sha256) or ready.receipt is None:
            return False
        return ready.receipt.versions == worker_receipt(model).versions

    def _is_alike(self, ready: BranchPrediction) -> bool:
        here = self._context.worker.steps.platform_digest
        return ready.receipt is not None and ready.receipt.digest == here

    def _receive_step(self, step: int, timeout_s: float) -> tuple[BranchPrediction, Tensor | None] | None:
        """The response to ``step``, or that the follower leaves; ``None`` when the follower is lost."""
        deadline = time.monotonic() + timeout_s
        try:
            while (left_s := deadline - time.monotonic()) > 0:
                received = self._search.channel.receive(left_s)
                if received is not None and (received[0].step == step or received[0].is_leaving):
                    return received
        except RedisError:
            self._lose_follower("the residual server does not answer", may_return=True)
        else:
            waited_s = time.monotonic() - self._requested_at
            self._lose_follower(f"no response {waited_s:.1f} s after the request")
        return None

    def _lose_follower(self, reason: str, *, may_return: bool = False) -> None:
        """Go on alone, and search for another; the lost one may be it only if it ``may_return``."""
        assert self._follower is not None, "it was accepted"
        worker = self._follower.worker
        log.info("follower lost", extra={"follower": worker, "reason": reason})
        metrics.CFG_FOLLOWERS_LOST.inc()
        self._follower = None
        if not may_return:
            self._excluded.add(worker)
        self._search.end()
        self._search = self._new_search()
        self._search.start()

    def _new_search(self) -> FollowerSearch:
        return FollowerSearch(self._context, self._control_maps, self._excluded)
