"""The story of an assistance: another worker draws a job, this one predicts its unconditional half."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from shared.jobs.spec import JobSpec
from shared.messaging.messages import FollowBranch
from workers.families.base_model import BaseModel
from workers.families.prompts import encode_prompt
from workers.unet.attempt_context import AttemptContext
from workers.unet.cfg_parallel.branches import UNCOND, branch_rows
from workers.unet.cfg_parallel.channel import READY, BranchChannel, BranchPrediction, BranchStep, Released
from workers.unet.cfg_parallel.policy import should_split, waiting_jobs
from workers.unet.deferred import Deferred
from workers.unet.lora import restore_weights_on_error
from workers.unet.output.receipt import worker_receipt
from workers.unet.output.replay import NO_REPLAY
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
    line = worker.branch_channel(message.job_id, message.attempt)
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
                half = UncondBranch(worker, model, spec, message, name, demand)
                stack.callback(half.close)
            demand.check()
            if not line.claim(name):
                return "another was faster"
            stack.callback(half.leave_controlnets)
            return _serve(worker, line, half, demand)
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


def _serve(worker: UNetWorker, line: BranchChannel, half: "UncondBranch", demand: "Demand") -> str:
    line.answer(half.ready())
    try:
        while True:
            taken = line.next_step(SLICE_S)
            demand.check()
            if taken is not None:
                with worker.busy:
                    answer, prediction = half.predict(*taken)
                line.answer(answer, prediction)
    except Released:
        return "done"
    except Exception:
        line.answer(BranchPrediction(step=READY, worker=half.name, leaving=True))
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
    """The unconditional half of one job, as this worker computes it."""

    def __init__(
        self,
        worker: UNetWorker,
        model: BaseModel,
        spec: JobSpec,
        message: FollowBranch,
        name: str,
        demand: Demand,
    ) -> None:
        self.name = name
        self._model, self._spec = model, spec
        timeline = Timeline(name)  # its spans stay here: the answers carry what the job's timeline shows
        material = AttemptContext(
            worker=worker,
            model=model,
            spec=spec,
            timeline=timeline,
            check=demand.check,
            replay=NO_REPLAY,
        )
        self._loras = material.loras("assist", spec.num_inference_steps)
        maker = material.row_maker(message.job_id, message.attempt, message.ordinal, Deferred())
        try:
            self._rows = maker.make("assist")
            self._loras.follow([])  # whatever an earlier job has left in the weights
            self._encode()
        except BaseException:
            self._loras.close()
            raise

    def ready(self) -> BranchPrediction:
        """Says that this worker waits for steps, and what it computes them with."""
        model = self._model
        return BranchPrediction(
            step=READY, worker=self.name, model_sha256=model.sha256, receipt=worker_receipt(model)
        )

    def predict(self, step: BranchStep, x: torch.Tensor) -> tuple[BranchPrediction, torch.Tensor | None]:
        """One step's prediction, ``(n, c, h/f, w/f)``; none while a LoRA of the step is on its way."""
        start = time.time()
        answer = BranchPrediction(step=step.step, worker=self.name, start_s=start)
        if not self._loras.are_here(step.loras):
            return answer.model_copy(update={"missing": True}), None
        if self._loras.follow(step.loras):
            self._encode()
        unet = self._model.pipe.unet
        x = x.to(unet.device, unet.dtype)
        with torch.inference_mode():
            prediction = self._rows.predict(x, step.step, step.total, torch.tensor(step.t, device=x.device))
        return answer.model_copy(update={"end_s": time.time()}), prediction

    def leave_controlnets(self) -> None:
        """No further step: for whoever has served this half; others share its name with the nets."""
        self._rows.close()

    def close(self) -> None:
        """Let go of the LoRAs."""
        self._loras.close()

    def _encode(self) -> None:
        self._rows.use(branch_rows(encode_prompt(self._model, self._spec), UNCOND))
