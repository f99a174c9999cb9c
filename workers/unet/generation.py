"""Generates the images of one attempt: the denoising loop, and what happens at step boundaries."""

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from PIL import Image
from torch import Generator, Tensor

from shared.errors import JobPreempted, WorkerStopping
from shared.jobs.receipt import Receipt
from workers.devices.steps_in_flight import StepsInFlight
from workers.unet.attempt_context import AttemptContext
from workers.unet.cfg_parallel.branches import CFGBranches
from workers.unet.cfg_parallel.leader import Leader
from workers.unet.checkpoints.attempt_checkpoints import AttemptCheckpoints
from workers.unet.checkpoints.checkpoint import StepsSoFar
from workers.unet.denoising.denoise import InitialLatents, denoise
from workers.unet.denoising.progress import ProgressReporter
from workers.unet.latents.initial_latents import make_initial_latents
from workers.unet.latents.input_images import read_input_images
from workers.unet.lease import Lease
from workers.unet.lora import JobLoras
from workers.unet.noise_predictor import NoisePredictorFactory
from workers.unet.output.finite import NonFiniteTracker
from workers.unet.output.images import decode_latents
from workers.unet.output.receipt import worker_receipt, write_receipt
from workers.unet.timesteps.dry_run import check_steps
from workers.unet.timesteps.schedule import TimestepSpec, make_schedule

log = logging.getLogger(__name__)

#: So long a stopping worker waits for its last checkpoint; without it, its successor has an earlier one.
HAND_OVER_S = 1.5


class GenerationResult(NamedTuple):
    """Finished images, their receipt, and warnings for the client."""

    images: list[Image.Image]
    receipt: Receipt
    warnings: list[str]


class Generation:
    """Generates the images of one attempt; used once."""

    def __init__(self, context: AttemptContext, lease: Lease) -> None:
        model, spec = context.model, context.spec
        self._context = context
        self._model, self._spec, self._timeline = model, spec, context.timeline
        self._size = model.size(spec.width, spec.height)
        steps = TimestepSpec.on_model(spec, model)
        check_steps(spec, model.scheduler_config, steps)
        self._schedule = make_schedule(steps, model.scheduler_config, context.worker.device)
        self._total = len(self._schedule.timesteps)
        self._scheduler_config = json.loads(self._schedule.scheduler.to_json_string())
        context.replay.check_model(model, self._scheduler_config)
        self._times = context.device_times
        self._in_flight = StepsInFlight(context.worker.device)
        self._finite = NonFiniteTracker(model, spec, context.worker.device)
        self._predictors = NoisePredictorFactory(context)
        self._loras = JobLoras(context, self._total, self._check_between_steps)
        self._lease = lease
        self._progress = ProgressReporter(context, lease, self._total)
        self._checkpoints = AttemptCheckpoints(context, self._schedule, self._scheduler_config)
        self._so_far = StepsSoFar()  # of earlier attempts
        self._step_start = self._times.mark()

    def run(self) -> GenerationResult:
        """The finished images; LoRAs are being loaded since construction.

        Raises `WorkerStopping` between two steps, or while one waits for residuals, once the worker was told
        to stop: the state before that step is stored, if it can be. Raises `JobPreempted` between two steps,
        and only if it is stored.
        """
        self._context.check_stopping()
        with ExitStack() as stack:
            stack.callback(self._times.report_done)
            stack.callback(self._loras.close)
            stack.callback(self._checkpoints.close)
            guidance = self._model.guidance(self._spec)
            with self._timeline.span("attach"):
                # Control inputs may be sampled: they are computed in this thread, before the leader has one.
                control_maps = self._predictors.control_maps
                leader = stack.enter_context(Leader(self._context, control_maps))
                branches = CFGBranches(self._predictors, leader, guidance, self._spec.split_steps)
                stack.callback(branches.close)
                branches.attach()
            with self._handed_over():
                latents = self._denoise(branches)
        self._context.check()
        loras = self._loras.check()
        with self._times.span("vae"):
            device = self._context.worker.device
            images = decode_latents(self._model, latents, self._size, device, self._finite, first=loras)
        self._times.report_all()  # all is done: the images are here
        self._progress.report()
        receipt = self._write_receipt(branches)
        warnings = [
            *self._model.prompt_warnings(self._spec),
            *self._loras.warnings(),
            *self._context.used_controlnets.warnings(),
            *self._context.replay.warnings(receipt),
        ]
        return GenerationResult(images, receipt, warnings)

    def _write_receipt(self, branches: CFGBranches) -> Receipt:
        model, spec, replay = self._model, self._spec, self._context.replay
        so_far = self._steps_so_far(branches)
        return write_receipt(
            spec,
            model,
            self._context.engine,
            scheduler_config=self._scheduler_config,
            size=self._size,
            controlnets=so_far.controlnets,
            control_maps=self._predictors.control_maps,
            split_steps=branches.split_steps,
            cfg_follower=replay.cfg_follower(branches.follower, worker_receipt(model, self._context.engine)),
            loras=self._loras.receipts(),
            lora_loading=replay.lora_loading(spec),
            continued_at=replay.continued_at(so_far.continued_at),
        )

    def _denoise(self, branches: CFGBranches) -> Tensor:
        spec, generators = self._spec, self._context.generators
        self._model.latents.prepare_preview()
        start = self._start(generators)
        first_step, start.latents, self._so_far = self._checkpoints.take_over(start.latents)
        self._loras.go_on(self._so_far.loras)
        self._context.used_controlnets.go_on(self._so_far.controlnets)
        branches.go_on(self._so_far.split_steps, self._so_far.cfg_follower)

        def before_step(i: int) -> None:
            self._in_flight.wait_for_room()
            self._check_between_steps()
            self._context.worker.overdue_steps.serve_one()
            self._step_start = self._times.mark()
            if self._loras.before_step(i) or i == first_step:
                with self._times.span("prompt"):
                    conditioning = self._context.encode_prompt()
                    self._finite.note_prompt(conditioning)
                    branches.use(conditioning)

        def after_step(i: int, latents: Tensor) -> None:
            self._after_step(i, latents)
            self._checkpoints.after_step(i, latents, self._steps_so_far(branches))

        self._finite.note("in the latents that the loop begins with", start.latents)
        return denoise(
            lambda x, i, t: branches.predict(x, i, self._total, t, self._loras.in_effect),
            self._schedule,
            start,
            guidance=self._model.guidance(spec),
            step_options=self._schedule.step_options(generators, spec.eta),
            before_step=before_step,
            after_step=after_step,
            first_step=first_step,
        )

    def _steps_so_far(self, branches: CFGBranches) -> StepsSoFar:
        """What the receipt will say of the steps until now."""
        return StepsSoFar(
            loras=self._loras.receipts(),
            controlnets=self._context.used_controlnets.receipts,
            split_steps=branches.split_steps,
            cfg_follower=branches.follower,
            continued_at=self._so_far.continued_at,
        )

    def _start(self, generators: list[Generator]) -> InitialLatents:
        if self._spec.image is None or self._model.gives_mask_to_controlnets(self._spec):
            return make_initial_latents(self._model, self._spec, self._schedule, generators, None)
        with self._times.span("encode image"):
            source = read_input_images(
                self._context.worker.images, self._model, self._spec, tenant=self._context.tenant
            )
            return make_initial_latents(self._model, self._spec, self._schedule, generators, source)

    def _check_between_steps(self) -> None:
        """Raise what shall stop the attempt."""
        self._context.check()
        self._context.check_stopping()
        if self._lease.is_preempted and self._checkpoints.has_new_steps:
            if self._checkpoints.store_now(HAND_OVER_S):
                raise JobPreempted("an interactive job takes the device")
            log.warning("job not preempted: its state cannot be stored")
            self._lease.keep_device()

    @contextmanager
    def _handed_over(self) -> Iterator[None]:
        """Store the state before the step that is not computed, as the worker stops."""
        try:
            yield
        except WorkerStopping:
            is_stored = self._checkpoints.store_now(HAND_OVER_S)
            log.info("job handed over", extra={"checkpoint": is_stored})
            raise

    def _after_step(self, i: int, latents: Tensor) -> None:
        self._progress.after_step(i, self._step_start, latents)
        self._finite.note(f"in step {i + 1} of {self._total}", latents)
        self._in_flight.add()
        self._context.deferred.add(self._progress.report)
        if i + 1 == self._total:
            self._context.deferred.run()
