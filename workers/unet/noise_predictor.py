"""Predicts the noise of a step's rows on this device, guided by the job's ControlNets."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from workers.devices.base import HostCopy, Pending
from workers.families.base import Conditioning
from workers.families.guidance import CFGBranch
from workers.families.staged_forward import Residuals, run_to_end
from workers.transport.protocol import ControlNetCall
from workers.unet.attempt_context import AttemptContext
from workers.unet.control_images import ControlImage, read_control_images
from workers.unet.controlnet.attach import find_unloaded
from workers.unet.controlnet.client import ControlNetClient
from workers.unet.controlnet.first_residual_timer import FirstResidualTimer
from workers.unet.controlnet.guess_mode import zero_padded
from workers.unet.controlnet.step_residuals import StepResiduals
from workers.unet.timesteps.schedule import Timestep


class NoisePredictor:
    """Predicts the noise of one CFG branch, or of the whole batch."""

    def __init__(self, context: AttemptContext, controlnets: ControlNetClient, branch: CFGBranch) -> None:
        self._model = context.model
        self._guidance = context.model.guidance(context.spec)
        self._controlnets = controlnets
        self._device = context.worker.device
        self._engine = context.engine
        self._times = context.device_times
        self._deferred = context.deferred
        self._branch = branch
        guess_mode = context.spec.guess_mode
        self._controlnet_branch = context.model.controlnet_branch(branch, guess_mode=guess_mode)
        self._conditioning: Conditioning | None = None
        self._controlnet_conditioning: Conditioning | None = None  # until it is published

    def use(self, conditioning: Conditioning) -> None:
        """What the whole batch is conditioned on from the next step on.

        It is published with the next ControlNet request.
        """
        self._conditioning = self._part(conditioning, self._branch)
        self._controlnet_conditioning = self._part(conditioning, self._controlnet_branch)

    def predict(
        self, x: Tensor, step: int, total: int, t: Timestep, *, messages: Sequence[Pending[Any]] = ()
    ) -> Tensor:
        """The prediction for the model input ``x`` of this branch, ``(b, …)``, at timestep ``t``.

        The ControlNets compute while the base model does, which takes each residual when it needs it. What
        they are sent is copied from the device while the encoder is submitted to it. ``messages`` about the
        same step, which wait for such copies, are finished then, too.
        """
        assert self._conditioning is not None, "the prompt is encoded before the first step"
        calls = self._controlnets.calls(step, total)
        plan = self._controlnets.plan(calls)
        request = self._request(calls, x, step, t)
        before, after = self._model.stages
        forward = self._model.staged_forward(x, t.tensor, self._conditioning, self._engine, plan)
        with self._times.span(before):
            index = next(forward)
        for message in messages:
            message.result()
        residuals = request.result() if request else None
        with self._times.span(after):
            prediction = run_to_end(forward, index, self._residuals(residuals))
        if residuals is not None:
            self._deferred.add(residuals.finish)
        return prediction

    def close(self) -> None:
        """No further step: what is still queued for these rows is void."""
        self._controlnets.close()

    def _request(
        self, calls: list[ControlNetCall], x: Tensor, step: int, t: Timestep
    ) -> Pending[StepResiduals] | None:
        """Ask the ControlNets that guide the step, and run the deferred calls meanwhile."""
        if not calls:
            self._deferred.run()
            return None
        inputs: dict[str, HostCopy] = {}
        if self._controlnet_conditioning is not None:
            on_device = self._controlnet_conditioning.controlnet_inputs
            inputs = {name: self._device.to_host(tensor) for name, tensor in on_device.items()}
        rows = self._controlnet_rows(x)

        copy = self._device.to_host(rows)

        def send() -> StepResiduals:
            self._publish(inputs)
            residuals = self._controlnets.request_step(calls, step, t.value, rows, copy)
            self._deferred.run()
            return residuals

        return Pending(send, is_ready=copy.is_done)

    def _publish(self, inputs: Mapping[str, HostCopy]) -> None:
        """Publish the conditioning's inputs if it is new, from their copies."""
        if self._controlnet_conditioning is not None:
            copies = {name: copy.wait() for name, copy in inputs.items()}
            self._controlnets.publish_inputs(self._controlnet_conditioning.controlnet_inputs, copies)
            self._controlnet_conditioning = None

    def _part(self, conditioning: Conditioning, branch: CFGBranch) -> Conditioning:
        return conditioning.branch(branch) if self._guidance.is_guided else conditioning

    def _controlnet_rows(self, x: Tensor) -> Tensor:
        """What ControlNets are given of a model input."""
        latents = self._model.controlnet_latents(x)
        if self._branch is not CFGBranch.BOTH:
            return latents
        return latents[self._guidance.rows(self._controlnet_branch, len(latents))]

    def _residuals(self, residuals: StepResiduals | None) -> Residuals | None:
        """As the base model adds them to all of its rows."""
        if residuals is None:
            return None
        is_half = self._branch is CFGBranch.BOTH and self._controlnet_branch is CFGBranch.COND
        is_padded = is_half and self._guidance.is_guided and self._model.facts.guidance_batches == "one_batch"
        return zero_padded(residuals.get, self._guidance) if is_padded else residuals.get


class NoisePredictorFactory:
    """Makes the noise predictors of one attempt; they share control images and the first-residual timer."""

    def __init__(self, context: AttemptContext) -> None:
        self._context = context
        names = [controlnet.name for controlnet in context.spec.controlnets]
        self._first_residual = FirstResidualTimer(names, context.timeline)

    def make(self, branch: CFGBranch) -> NoisePredictor:
        """The predictor of ``branch``, its control images published.

        Only the whole batch attaches ControlNet workers: its branches ask the same ones.
        """
        context, spec = self._context, self._context.spec
        controlnets = ControlNetClient(context, branch, self._first_residual)
        images = [self._part_of(image.control, branch) for image in self._images]
        is_both = branch is CFGBranch.BOTH
        if is_both and images:
            self._first_residual.start()
        controlnets.publish_images(images)
        controlnets.expect_steps()
        if is_both or context.role == "follower":
            self._load_controlnets()
        if is_both:
            model = context.model
            asked = model.controlnet_branch(branch, guess_mode=spec.guess_mode)
            is_double = asked is CFGBranch.BOTH and model.guidance(spec).is_guided
            controlnets.attach(spec.num_images * (2 if is_double else 1))
        return NoisePredictor(context, controlnets, branch)

    def _part_of(self, control: Tensor, branch: CFGBranch) -> Tensor:
        """Of what was sampled for each row of the whole batch, the rows that ``branch`` asks for."""
        model, spec = self._context.model, self._context.spec
        if len(control) != 2 * spec.num_images:
            return control
        asked = model.controlnet_branch(branch, guess_mode=spec.guess_mode)
        return control[model.guidance(spec).rows(asked, len(control))]

    @property
    def control_maps(self) -> list[str]:
        """By the ControlNet's position in the job: sha256 of the control image it is given."""
        return [image.sha256 for image in self._images]

    def _load_controlnets(self) -> None:
        """Begin to load what no free worker has loaded; others are loaded while this worker is idle."""
        context, residency = self._context, self._context.worker.residency
        names = list(dict.fromkeys(controlnet.name for controlnet in context.spec.controlnets))
        for name in names:
            residency.wanted(name)
            if context.spec.loras and context.model.facts.controlnet_layers:  # which they may patch
                residency.load_for_job(name)
        loaded = context.worker.controlnets.names()
        missing = [name for name in names if name not in loaded and residency.can_load(name)]
        worker = context.worker
        platform = worker.steps.platform_digest if context.spec.is_exact else ""
        for name in find_unloaded(worker.live_workers, missing, context.timeline.worker, platform):
            residency.load_for_job(name)

    @cached_property
    def _images(self) -> list[ControlImage]:
        return read_control_images(self._context)
