"""A second UNet worker that computes the unconditional half of a job; most of the time there is none."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from redis.exceptions import RedisError
from torch import Tensor

from shared import metrics
from shared.jobs.receipt import WorkerReceipt
from workers.unet.cfg_parallel.channel import READY, BranchChannel, BranchPrediction, BranchStep
from workers.unet.timeline import Timeline

log = logging.getLogger(__name__)

#: Between two looks whether a worker could help now; a request that nobody takes expires as soon.
OFFER_EVERY_S = 2.0
#: An idle worker needs about as long as we do to encode the prompt, and hears of the job a little later.
FIRST_WAIT_S = 0.1
#: The assistant gets as long as our own half took, times this, and at least the seconds below.
PATIENCE, LEAST_WAIT_S = 3.0, 0.5
#: Shorter waits are not worth a bar in the timeline.
WAIT_SHOWN_S = 0.0005
#: Asks for an assistant if the policy says so; returns whether it did.
Offer = Callable[[], bool]


class Follower:
    """``with Follower(…) as assistant:`` looks for a worker for as long as the block runs.

    Whatever goes wrong with it costs time, never the job: the caller computes the half itself.
    """

    def __init__(
        self, line: BranchChannel, offer: Offer | None, timeline: Timeline, model_sha256: str
    ) -> None:
        """``model_sha256``: of the weights that whoever helps must have, too."""
        self._line = line
        self._offer = offer
        self._timeline = timeline
        self._model_sha256 = model_sha256
        self._was_offered = False
        self._first_wait_s = FIRST_WAIT_S
        self._worker: BranchPrediction | None = None  # who assists, as it said when it was ready
        self.receipt: WorkerReceipt | None = None  # of who has predicted a half
        self._asked: BranchStep | None = None
        self._asked_at = 0.0
        self._over = threading.Event()

    def __enter__(self) -> "Follower":
        if self._offer is not None:
            threading.Thread(target=self._look, args=[self._offer], name="offer", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._was_offered:
            self._dismiss()

    def is_here(self) -> bool:
        """Whether a worker is ready for the next step; waits for a moment before the first one."""
        if self._worker is None and self._was_offered and not self._over.is_set():
            answer = self._receive(self._first_wait_s)
            self._first_wait_s = 0.0
            if answer is not None and answer[0].step == READY:
                self._welcome(answer[0])
        return self._worker is not None

    def ask(self, step: int, total: int, t: float, x: Tensor, loras: Sequence[str]) -> None:
        """Send the unconditional half's model input, ``(n, c, h/f, w/f)``, and the LoRAs in effect."""
        self._asked = BranchStep(step=step, total=total, t=t, loras=list(loras))
        self._asked_at = time.monotonic()
        try:
            self._line.ask(self._asked, x)
        except RedisError:
            self._lose("the residual server does not answer")

    def take(self, like: Tensor) -> Tensor | None:
        """The prediction of the step that was asked for, on the device and in the type of ``like``.

        ``None``: compute it here. Called when our own half is done, which also says how long is too long.
        """
        if self._worker is None:
            return None
        assert self._asked is not None, "take follows ask"
        own_s = time.monotonic() - self._asked_at
        start = time.time()
        answer = self._answer_to(self._asked.step, max((PATIENCE - 1) * own_s, LEAST_WAIT_S))
        if time.time() - start > WAIT_SHOWN_S:
            self._timeline.add("wait for half", start, time.time())
        if answer is None:
            self._lose(f"no answer {time.monotonic() - self._asked_at:.1f} s after it was asked")
            return None
        head, prediction = answer
        if head.leaving:
            self._lose("it is wanted elsewhere")
            return None
        if prediction is None:
            return None
        self._timeline.add("half", head.start_s, head.end_s, head.worker)
        metrics.HALVES.labels("assisted").inc()
        self.receipt = self._worker.receipt
        return prediction.to(like.device, like.dtype)

    def _welcome(self, ready: BranchPrediction) -> None:
        self._worker = ready
        self._over.set()
        if ready.model_sha256 != self._model_sha256:
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
            return self._line.receive(timeout_s)
        except RedisError:
            log.warning("assistant not heard: the residual server does not answer")
            return None

    def _lose(self, why: str) -> None:
        """Go on alone, for the rest of the job: what it still sends belongs to steps long gone."""
        log.info("assistant lost worker=%s why=%s", self._worker and self._worker.worker, why)
        metrics.HALVES.labels("lost").inc()
        self._worker, self._was_offered = None, False
        self._dismiss()

    def _dismiss(self) -> None:
        try:
            self._line.dismiss()
        except RedisError:
            log.warning("assistant not dismissed; it leaves when this attempt's lease is over")

    def _look(self, offer: Offer) -> None:
        while not self._over.is_set():
            try:
                self._was_offered = offer() or self._was_offered
            except RedisError:
                log.warning("no assistant asked for: Redis does not answer")
            self._over.wait(OFFER_EVERY_S)
