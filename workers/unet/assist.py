"""The story of an assistance: another worker draws a job, this one predicts its unconditional half."""

import logging
import time
from contextlib import ExitStack

import torch

from shared.messages import Assist
from shared.specs import JobSpec
from workers.residuals.halves import READY, Dismissed, HalfAnswer, HalfLine, HalfStep
from workers.unet.halves import UNCOND, part_of
from workers.unet.loras import Loras, trusted
from workers.unet.models import BaseModel
from workers.unet.prompts import encode_prompt
from workers.unet.replay import NO_REPLAY
from workers.unet.rows import RowMaker
from workers.unet.splitting import should_split, waiting_jobs
from workers.unet.timeline import Timeline
from workers.unet.worker import UNetWorker

log = logging.getLogger(__name__)

#: One wait for a step; between two this worker looks whether it is still wanted here.
SLICE_S = 0.5


def assist(worker: UNetWorker, message: Assist, name: str) -> str:
    """Assist one attempt until it needs no more, or this worker is wanted elsewhere; returns how it ended."""
    if not worker.jobs.is_held(message.job_id, message.attempt):
        return "too late"
    spec = worker.jobs.get(message.job_id).spec.with_maps(message.maps)
    if not should_split(spec, waiting=waiting_jobs(worker.jobs.redis, spec.model), others=1):
        return "wanted elsewhere"
    line = worker.half_line(message.job_id, message.attempt)
    if not line.claim(name):
        return "another was faster"
    try:
        with ExitStack() as stack:
            model = stack.enter_context(worker.models.use(spec.model))
            stack.enter_context(trusted(worker.models, model))
            half = UncondHalf(worker, model, spec, message, name)
            stack.callback(half.close)
            return _serve(worker, spec, message, line, half)
    except Exception:
        line.answer(HalfAnswer(step=READY, worker=name, leaving=True))
        raise


def _serve(worker: UNetWorker, spec: JobSpec, message: Assist, line: HalfLine, half: "UncondHalf") -> str:
    line.answer(HalfAnswer(step=READY, worker=half.name))
    looked_at = time.monotonic()
    is_wanted = True
    while is_wanted:
        try:
            taken = line.next_step(SLICE_S)
        except Dismissed:
            return "done"
        if time.monotonic() - looked_at > SLICE_S:
            looked_at = time.monotonic()
            if not worker.jobs.is_held(message.job_id, message.attempt):
                return "its attempt is over"
            is_wanted = should_split(spec, waiting=waiting_jobs(worker.jobs.redis, spec.model), others=1)
        if taken is not None:
            with worker.busy:
                answer, prediction = half.predict(*taken)
            line.answer(answer.model_copy(update={"leaving": not is_wanted}), prediction)
        elif not is_wanted:
            line.answer(HalfAnswer(step=READY, worker=half.name, leaving=True))
    return "wanted elsewhere"


class UncondHalf:
    """The unconditional half of one job, as this worker computes it."""

    def __init__(
        self, worker: UNetWorker, model: BaseModel, spec: JobSpec, message: Assist, name: str
    ) -> None:
        self.name = name
        self._model, self._spec = model, spec
        timeline = Timeline(name)  # its spans stay here: the answers carry what the job's timeline shows
        self._loras = Loras(
            spec,
            model,
            worker.loras,
            worker.lora_memory,
            total_steps=spec.num_inference_steps,
            wait_s=worker.settings.lora_wait_s,
            timeline=timeline,
            check=lambda: None,
            check_hash=NO_REPLAY.check_lora,
        )
        maker = RowMaker(
            worker=worker,
            model=model,
            spec=spec,
            job_id=message.job_id,
            attempt=message.attempt,
            ordinal=message.ordinal,
            timeline=timeline,
            check=lambda: None,
            check_hash=NO_REPLAY.check_net,
        )
        try:
            self._rows = maker.make("assist")
            self._loras.follow([])  # whatever an earlier job has left in the weights
            self._encode()
        except BaseException:
            self._loras.close()
            raise

    def predict(self, step: HalfStep, x: torch.Tensor) -> tuple[HalfAnswer, torch.Tensor | None]:
        """One step's prediction, ``(n, c, h/f, w/f)``; none while a LoRA of the step is on its way."""
        start = time.time()
        answer = HalfAnswer(step=step.step, worker=self.name, start_s=start)
        if not self._loras.are_here(step.loras):
            return answer.model_copy(update={"missing": True}), None
        if self._loras.follow(step.loras):
            self._encode()
        unet = self._model.pipe.unet
        x = x.to(unet.device, unet.dtype)
        with torch.inference_mode():
            prediction = self._rows.predict(x, step.step, step.total, torch.tensor(step.t, device=x.device))
        return answer.model_copy(update={"end_s": time.time()}), prediction

    def close(self) -> None:
        """No further step."""
        self._rows.close()
        self._loras.close()

    def _encode(self) -> None:
        self._rows.use(part_of(encode_prompt(self._model, self._spec), UNCOND))
