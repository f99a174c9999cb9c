"""One attempt's pictures: the denoising loop, and what happens at the boundaries of its steps."""

import json
import time
from contextlib import ExitStack
from typing import NamedTuple

from PIL import Image
from torch import Generator, Tensor

from shared import metrics
from shared.jobs.attempt import Attempt
from shared.jobs.receipt import Receipt
from shared.messaging.messages import FollowBranch
from workers.families.base_model import BaseModel
from workers.families.guidance import is_guided
from workers.families.long_prompt import cut_off
from workers.families.prompts import encode_prompt
from workers.unet.attempt_context import AttemptContext
from workers.unet.cfg_parallel.branches import CFGBranches
from workers.unet.cfg_parallel.leader import Follower
from workers.unet.cfg_parallel.policy import idle_workers, may_split, should_split, waiting_jobs
from workers.unet.deferred import Deferred
from workers.unet.denoise import InitialLatents, denoise
from workers.unet.latents.initial_latents import make_initial_latents
from workers.unet.latents.input_images import read_input_images
from workers.unet.latents.noise import make_generators, step_options
from workers.unet.lease import Lease
from workers.unet.output.finite import FiniteRecord
from workers.unet.output.images import decode_latents
from workers.unet.output.receipt import worker_receipt, write_receipt
from workers.unet.output.replay import Replay
from workers.unet.timeline import Timeline
from workers.unet.timesteps.rehearsal import check_steps
from workers.unet.timesteps.schedule import Steps, make_schedule
from workers.unet.worker import UNetWorker


class GenerationResult(NamedTuple):
    """Finished pictures, what decided them, and what the client should know of it."""

    images: list[Image.Image]
    receipt: Receipt
    warnings: list[str]


class Generation:
    """Brings model, ControlNets and LoRAs of one attempt together; used once."""

    def __init__(
        self, worker: UNetWorker, attempt: Attempt, model: BaseModel, watch: Lease, timeline: Timeline
    ) -> None:
        spec = attempt.job.spec
        self._attempt = attempt
        self._worker, self._model, self._watch, self._timeline = worker, model, watch, timeline
        self._spec = spec
        self._size = model.size(spec.width, spec.height)
        check_steps(spec, model.pipe.scheduler.config)
        self._schedule = make_schedule(Steps.of(spec), model.pipe.scheduler.config, str(model.pipe.device))
        self._total = len(self._schedule.timesteps)
        self._replay = Replay(attempt.job.replays)
        self._scheduler_config = json.loads(self._schedule.scheduler.to_json_string())
        self._replay.check_model(model.sha256, self._scheduler_config)
        self._finite = FiniteRecord(model, spec)
        self._afterwards = Deferred()
        material = AttemptContext(
            worker=worker, model=model, spec=spec, timeline=timeline, check=watch.check, replay=self._replay
        )
        job = attempt.job
        self._maker = material.row_maker(job.id, attempt.token, job.attempts, self._afterwards)
        self._loras = material.loras("draw", self._total)
        self._step_began = 0.0

    def paint(self) -> GenerationResult:
        """The finished pictures; LoRAs are on their way since construction."""
        with ExitStack() as stack:
            stack.callback(self._loras.close)
            assistant = stack.enter_context(self._look_for_assistant())
            halves = CFGBranches(self._maker, assistant, self._spec.split_steps)
            stack.callback(halves.close)
            with self._timeline.span("attach"):
                halves.attach()
            latents = self._denoise(halves)
        self._watch.check()
        self._finite.check_latents(latents)
        with self._timeline.span("vae"):
            images = decode_latents(self._model, latents, self._finite.check_pixels)
        receipt = write_receipt(
            self._spec,
            self._model,
            scheduler_config=self._scheduler_config,
            size=self._size,
            controlnet_hashes=halves.controlnet_hashes,
            controlnet_batches=halves.controlnet_batches,
            maps=self._maker.maps,
            split_steps=halves.split,
            assistant=self._replay.assistant(halves.assistant, worker_receipt(self._model)),
            loras=self._loras.receipts(),
            lora_loading=self._replay.lora_loading(self._spec),
        )
        warnings = [
            *cut_off(self._model, self._spec),
            *self._loras.warnings(),
            *self._replay.warnings(receipt),
        ]
        return GenerationResult(images, receipt, warnings)

    def _look_for_assistant(self) -> Follower:
        worker, attempt, spec = self._worker, self._attempt, self._spec
        redis = worker.jobs.redis

        def offer() -> bool:
            waiting = waiting_jobs(redis, [spec.model])
            idle = idle_workers(redis, spec.model, self._timeline.worker)
            if not should_split(spec, waiting=waiting, others=idle):
                return False
            message = FollowBranch(
                job_id=attempt.job.id,
                attempt=attempt.token,
                ordinal=attempt.job.attempts,
                maps=self._maker.maps,
            )
            worker.send_assist(message, spec.model)
            return True

        line = worker.branch_channel(attempt.job.id, attempt.token)
        has_halves = is_guided(self._model.guidance_scale(spec))
        is_wanted = has_halves and may_split(spec)
        return Follower(line, offer if is_wanted else None, self._timeline, self._model.sha256)

    def _denoise(self, halves: CFGBranches) -> Tensor:
        spec, generators = self._spec, make_generators(self._spec)

        def before_step(i: int) -> None:
            self._step_began = time.time()
            self._watch.check()
            if self._loras.before_step(i) or i == 0:
                with self._timeline.span("prompt"):
                    conditioning = encode_prompt(self._model, spec)
                    self._finite.note_prompt(conditioning)
                    halves.use(conditioning)

        start = self._start(generators)
        self._finite.note("in the latents that the loop begins with", start.latents)
        return denoise(
            lambda x, i, t: halves.predict(x, i, self._total, t, self._loras.in_effect),
            self._schedule,
            start,
            guidance_scale=self._model.guidance_scale(spec),
            guidance_rescale=spec.guidance_rescale,
            step_options=step_options(self._schedule.scheduler, generators, spec.eta),
            before_step=before_step,
            after_step=self._after_step,
        )

    def _start(self, generators: list[Generator]) -> InitialLatents:
        if self._spec.image is None:
            return make_initial_latents(self._model, self._spec, self._schedule, generators, None)
        with self._timeline.span("encode image"):
            source = read_input_images(self._worker.images, self._model, self._spec)
            return make_initial_latents(self._model, self._spec, self._schedule, generators, source)

    def _after_step(self, i: int, latents: Tensor) -> None:
        took_s = time.time() - self._step_began
        self._finite.note(f"in step {i + 1} of {self._total}", latents)

        def tell() -> None:
            metrics.STEP_S.labels(self._spec.model).observe(took_s)
            self._watch.progress(i + 1, self._total, lambda: self._model.preview(latents))

        self._afterwards.add(tell)
        if i + 1 == self._total:
            self._afterwards.run()
