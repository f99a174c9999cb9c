"""Predicts the noise of a step's rows on this device, guided by the job's ControlNets."""

from functools import cached_property

from torch import Tensor

from workers.families.conditioning import Conditioning
from workers.families.guidance import is_guided
from workers.families.unet_forward import forward_decoder, forward_encoder
from workers.unet.attempt_context import AttemptContext
from workers.unet.cfg_parallel.branch import CFGBranch
from workers.unet.controlnet.client import ControlNetClient
from workers.unet.controlnet.control_images import ControlImage, read_control_images
from workers.unet.controlnet.first_residual_timer import FirstResidualTimer
from workers.unet.controlnet.guess_mode import padded


class NoisePredictor:
    """Predicts the noise of one CFG branch, or of the whole batch."""

    def __init__(self, context: AttemptContext, controlnets: ControlNetClient, guided: slice) -> None:
        """``guided``: the rows that ControlNets guide; the others get none of their residuals."""
        pipe = context.model.pipe
        self._unet = pipe.unet
        self._channels = pipe.vae.config.latent_channels
        self._controlnets = controlnets
        self._timeline = context.timeline
        self._deferred = context.deferred
        self._guided = guided
        self._conditioning: Conditioning | None = None
        self._is_published = False

    @property
    def controlnet_hashes(self) -> dict[int, str]:
        """By the ControlNet's position in the job: sha256 of the weights that have served these rows."""
        return self._controlnets.hashes

    @property
    def controlnet_batches(self) -> dict[int, int]:
        """By the ControlNet's position in the job: the most jobs that were computed in one pass."""
        return self._controlnets.batches

    def use(self, conditioning: Conditioning) -> None:
        """What these rows attend to from the next step on; published with the next ControlNet request."""
        self._conditioning = conditioning
        self._is_published = False

    def predict(self, x: Tensor, step: int, total: int, t: Tensor) -> Tensor:
        """The prediction for the model input ``x``, ``(b, c, h/f, w/f)``, at timestep ``t``.

        The ControlNets compute while the encoder runs; the decoder takes residuals as it needs them.
        """
        assert self._conditioning is not None, "the prompt is encoded before the first step"
        if not self._is_published:
            self._controlnets.publish_inputs(self._conditioning.rows(self._guided).controlnet_inputs)
            self._is_published = True
        # ControlNets see no mask that an inpainting UNet may see beside the latents.
        latents = x if x.shape[1] == self._channels else x[:, : self._channels].contiguous()
        asked = latents[self._guided]
        residuals = self._controlnets.request_step(asked, step, total, t.item())
        self._deferred.run()
        with self._timeline.span("encoder"):
            encoded = forward_encoder(self._unet, x, t, self._conditioning)
        with self._timeline.span("decoder"):
            noise = forward_decoder(self._unet, encoded, residuals and padded(residuals, len(x) - len(asked)))
        if residuals is not None:
            self._deferred.add(residuals.finish)
        return noise

    def close(self) -> None:
        """No further step: what is still queued for these rows is void."""
        self._controlnets.close()


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
        images = [image.pixels for image in self._images]
        is_both = branch is CFGBranch.BOTH
        if is_both and images:
            self._first_residual.start()
        controlnets.publish_images(images)
        is_double = is_both and is_guided(context.model.guidance_scale(spec))
        if is_both:
            controlnets.attach(spec.num_images * (2 if is_double and not spec.guess_mode else 1))
        # In guess mode ControlNets guide the conditional rows alone.
        guided = slice(spec.num_images, None) if is_double and spec.guess_mode else slice(None)
        return NoisePredictor(context, controlnets, guided)

    @property
    def control_maps(self) -> list[str]:
        """By the ControlNet's position in the job: sha256 of the control image it is given."""
        return [image.sha256 for image in self._images]

    @cached_property
    def _images(self) -> list[ControlImage]:
        context = self._context
        return read_control_images(context.spec, context.model, context.worker.images, context.timeline)
