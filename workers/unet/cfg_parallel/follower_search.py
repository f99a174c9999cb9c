"""The leader's search for a follower: offers to idle workers until one of them is ready."""

import logging
import secrets
import time
from collections.abc import Collection

from redis.exceptions import RedisError

from shared.periodic_thread import PeriodicThread
from workers.unet.attempt_context import AttemptContext
from workers.unet.cfg_parallel.channel import branch_channel
from workers.unet.cfg_parallel.messages import READY, BranchPrediction, FollowBranch
from workers.unet.cfg_parallel.policy import idle_workers, should_split, waiting_jobs

log = logging.getLogger(__name__)


class FollowerSearch:
    """Offers a job's unconditional branch while the policy says so, until a worker is ready. Used once.

    Each search has a channel of its own: what an earlier follower still sends, or claims, is never read
    here.
    """

    def __init__(self, context: AttemptContext, control_maps: list[str], excluded: Collection[str]) -> None:
        """``control_maps``: sha256 of the image of each ControlNet; ``excluded``: names of workers."""
        self._context = context
        self._offer = FollowBranch(
            job_id=context.job_id,
            attempt=context.attempt,
            ordinal=context.ordinal,
            channel=secrets.token_hex(4),
            control_maps=control_maps,
            excluded=sorted(excluded),
        )
        self.channel = branch_channel(context.worker, self._offer)
        self._interval_s = context.worker.cfg_timings.offer_every_s
        self._was_offered = False
        self._may_receive_at = 0.0
        self._offering = PeriodicThread("offer", self._interval_s, self._try_offer, call_at_start=True)

    def start(self) -> None:
        """Begin to offer, from a thread of its own."""
        self._offering.start()

    @property
    def is_waiting(self) -> bool:
        """Whether a worker may be about to get ready."""
        return (
            self._was_offered and not self._offering.is_stopping and time.monotonic() >= self._may_receive_at
        )

    def wait_for_ready(self, timeout_s: float) -> BranchPrediction | None:
        """What the follower has said when it was ready; ``None`` if none is within ``timeout_s``."""
        try:
            received = self.channel.receive(timeout_s)
        except RedisError:
            log.warning("no follower: the residual server does not answer")
            self._may_receive_at = time.monotonic() + self._interval_s
            return None
        if received is None or received[0].step != READY or received[0].is_leaving:
            return None
        self._offering.stop(0)
        return received[0]

    def end(self) -> None:
        """Offer no more, and release the follower if there is one."""
        self._offering.stop(0)
        if self._was_offered:
            try:
                self.channel.release()
            except RedisError:
                log.warning("follower not released: it leaves when this attempt's lease is over")

    def _try_offer(self) -> None:
        try:
            self._offer_if_idle()
        except RedisError:
            log.warning("no follower asked for: Redis does not answer")

    def _offer_if_idle(self) -> None:
        """Ask an idle worker to follow if the policy says so."""
        context = self._context
        model, redis = context.spec.model, context.worker.jobs.redis
        waiting = waiting_jobs(redis, [model])
        others = {context.timeline.worker, *self._offer.excluded}
        idle = idle_workers(redis, model, others)
        if should_split(context.spec, waiting=waiting, idle=idle):
            context.worker.send_follow(self._offer, model, self._interval_s)
            self._was_offered = True
