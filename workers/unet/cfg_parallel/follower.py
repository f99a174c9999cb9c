"""The story of an assistance: another worker draws a job, this one predicts its unconditional half."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from shared.jobs.spec import JobSpec
from shared.messaging.messages import FollowBranch
from workers.families.prompts import encode_prompt
from workers.unet.attempt_context import AttemptContext
from workers.unet.cfg_parallel.branch import CFGBranch
from workers.unet.cfg_parallel.channel import (
    READY,
    BranchChannel,
    BranchPrediction,
    BranchStep,
    Released,
    branch_channel,
)
from workers.unet.cfg_parallel.policy import should_split, waiting_jobs
from workers.unet.lora import JobLoras, restore_weights_on_error
from workers.unet.noise_predictor import NoisePredictorFactory
from workers.unet.output.receipt import worker_receipt
from workers.unet.timeline import Timeline
from workers.unet.worker import UNetWorker

log = logging.getLogger(__name__)

#: One wait for a step; this worker looks as often whether it is still wanted here.
SLICE_S = 0.5


def follow(worker: UNetWorker, message: FollowBranch, name: str) -> str:
    """Assist one attempt until it needs no more, or this worker is wanted elsewhere; returns how it ended.

    The claim comes last: a worker that is killed before it is ready keeps nobody out.
    """
    if not worker.jobs.is_held(message.job_id, message.attempt):
        return "too late"
    spec = worker.jobs.get(message.job_id).spec.with_maps(message.maps)
    if not should_split(spec, waiting=waiting_jobs(worker.jobs.redis, worker.serves), others=1):
        return "wanted elsewhere"
    line = branch_channel(worker, message.job_id, message.attempt)
    if line.is_claimed():
        return "another was faster"
    demand = Demand(worker, spec, message)
    try:
        with ExitStack() as stack:
            limit_s = worker.settings.job_timeout_s  # of the job that it assists
            stack.enter_context(worker.watchdog.limit(f"assistance of job {message.job_id}", limit_s))
            stack.enter_context(_session(worker, spec.model, message.job_id))
            with worker.busy:
                model = stack.enter_context(worker.models.use(spec.model))
                stack.enter_context(restore_weights_on_error(worker.models, model))
                context = AttemptContext(
                    worker=worker,
                    model=model,
                    spec=spec,
                    job_id=message.job_id,
                    attempt=message.attempt,
                    ordinal=message.ordinal,
                    role="follower",
                    # Its spans stay here: the answers carry what the job's timeline shows.
                    timeline=Timeline(name),
                    check=demand.check,
                )
                half = UncondBranch(context)
                stack.callback(half.close)
            demand.check()
            if not line.claim(name):
                return "another was faster"
            stack.callback(half.leave_controlnets)
            return _serve(context, line, half)
    except Preempted as why:
        return str(why)


@contextmanager
def _session(worker: UNetWorker, model: str, job_id: str) -> Iterator[None]:
    """Within the block the fleet view shows whom this worker assists."""
    worker.sessions[model] = [job_id]
    try:
        yield
    finally:
        worker.sessions.pop(model, None)


def _serve(context: AttemptContext, line: BranchChannel, half: "UncondBranch") -> str:
    line.answer(half.ready())
    try:
        while True:
            taken = line.next_step(SLICE_S)
            context.check()
            if taken is not None:
                with context.worker.busy:
                    answer, prediction = half.predict(*taken)
                line.answer(answer, prediction)
    except Released:
        return "done"
    except Exception:
        line.answer(BranchPrediction(step=READY, worker=context.timeline.worker, leaving=True))
        raise


class Preempted(Exception):
    """This worker has no business here any more; the message says why."""


class Demand:
    """Whether an assistance is still wanted, also in the middle of a step that waits for nets."""

    def __init__(self, worker: UNetWorker, spec: JobSpec, message: FollowBranch) -> None:
        self._worker, self._spec, self._message = worker, spec, message
        self._looked_at = time.monotonic()

    def check(self) -> None:
        """Look, at most every `SLICE_S`; raises `Preempted`."""
        if time.monotonic() - self._looked_at < SLICE_S:
            return
        self._looked_at = time.monotonic()
        jobs, waiting = self._worker.jobs, waiting_jobs(self._worker.jobs.redis, self._worker.serves)
        if not jobs.is_held(self._message.job_id, self._message.attempt):
            raise Preempted("its attempt is over")
        if not should_split(self._spec, waiting=waiting, others=1):
            raise Preempted("wanted elsewhere")


class UncondBranch:
    """The unconditional branch of one job, as this worker computes it."""

    def __init__(self, context: AttemptContext) -> None:
        self._context = context
        self._model = context.model
        self._loras = JobLoras(context, context.spec.num_inference_steps)
        try:
            self._predictor = NoisePredictorFactory(context).make(CFGBranch.UNCOND)
            self._loras.follow([])  # takes out what an earlier job has left in the weights
            self._encode()
        except BaseException:
            self._loras.close()
            raise

    def ready(self) -> BranchPrediction:
        """Says that this worker waits for steps, and what it computes them with."""
        model = self._model
        return BranchPrediction(
            step=READY,
            worker=self._context.timeline.worker,
            model_sha256=model.sha256,
            receipt=worker_receipt(model),
        )

    def predict(self, step: BranchStep, x: torch.Tensor) -> tuple[BranchPrediction, torch.Tensor | None]:
        """One step's prediction, ``(n, c, h/f, w/f)``; none while a LoRA of the step is on its way."""
        start = time.time()
        answer = BranchPrediction(step=step.step, worker=self._context.timeline.worker, start_s=start)
        if not self._loras.are_here(step.loras):
            return answer.model_copy(update={"missing": True}), None
        if self._loras.follow(step.loras):
            self._encode()
        unet = self._model.pipe.unet
        x = x.to(unet.device, unet.dtype)
        with torch.inference_mode():
            prediction = self._predictor.predict(
                x, step.step, step.total, torch.tensor(step.t, device=x.device)
            )
        return answer.model_copy(update={"end_s": time.time()}), prediction

    def leave_controlnets(self) -> None:
        """No further step: for whoever has served this half; others share its name with the nets."""
        self._predictor.close()

    def close(self) -> None:
        """Let go of the LoRAs."""
        self._loras.close()

    def _encode(self) -> None:
        conditioning = encode_prompt(self._model, self._context.spec)
        self._predictor.use(CFGBranch.UNCOND.rows_of(conditioning))
