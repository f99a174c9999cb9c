"""Rows of a job's steps that one device predicts, beside the ControlNets: all of them, or one guidance
half."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from shared.jobs.spec import JobSpec
from shared.messaging.messages import AttachControlNet
from workers.families.base_model import BaseModel
from workers.families.conditioning import Conditioning
from workers.families.guidance import is_guided
from workers.families.unet_forward import forward_decoder, forward_encoder
from workers.unet.controlnet.client import CheckHash, ControlNetClient
from workers.unet.controlnet.control_images import ControlImage, read_control_images
from workers.unet.controlnet.first_residual import FirstResidual
from workers.unet.controlnet.guess_mode import padded
from workers.unet.controlnet.local import LocalControlNets
from workers.unet.deferred import Deferred
from workers.unet.timeline import Timeline
from workers.unet.worker import UNetWorker

#: Every row of a step. Other names are of halves: they tell requests for the ControlNets apart.
WHOLE = ""


class NoisePredictor:
    """Predicts its rows, and asks ``controlnets`` for them alone."""

    def __init__(
        self,
        model: BaseModel,
        controlnets: ControlNetClient,
        timeline: Timeline,
        afterwards: Deferred,
        guided: slice,
    ) -> None:
        """``guided``: the rows that the ControlNets are asked for; the others get none of their residuals."""
        self._unet = model.pipe.unet
        self._channels = model.pipe.vae.config.latent_channels
        self._controlnets = controlnets
        self._timeline = timeline
        self._afterwards = afterwards
        self._guided = guided
        self._conditioning: Conditioning | None = None
        self._is_published = False

    @property
    def controlnet_hashes(self) -> dict[int, str]:
        """By the net's position in the job: sha256 of the weights that have served these rows."""
        return self._controlnets.hashes

    @property
    def controlnet_batches(self) -> dict[int, int]:
        """By the net's position in the job: the most jobs that were computed in one pass with these rows."""
        return self._controlnets.batches

    def use(self, conditioning: Conditioning) -> None:
        """What these rows attend to from the next step on; the ControlNets are told when they are next
        asked."""
        self._conditioning = conditioning
        self._is_published = False

    def predict(self, x: Tensor, step: int, total: int, t: Tensor) -> Tensor:
        """The prediction for the model input ``x``, ``(b, c, h/f, w/f)``, at timestep ``t``.

        The ControlNets compute while the encoder runs; the decoder takes residuals as it needs them.
        """
        assert self._conditioning is not None, "the prompt is encoded before the first step"
        if not self._is_published:
            self._controlnets.use_inputs(self._conditioning.rows(self._guided).controlnet_inputs)
            self._is_published = True
        # ControlNets see no mask that an inpainting UNet may see beside the latents.
        latents = x if x.shape[1] == self._channels else x[:, : self._channels].contiguous()
        asked = latents[self._guided]
        residuals = self._controlnets.ask(asked, step, total, t.item())
        self._afterwards.run()
        with self._timeline.span("encoder"):
            encoded = forward_encoder(self._unet, x, t, self._conditioning)
        with self._timeline.span("decoder"):
            noise = forward_decoder(self._unet, encoded, residuals and padded(residuals, len(x) - len(asked)))
        if residuals is not None:
            self._afterwards.add(residuals.finish)
        return noise

    def close(self) -> None:
        """No further step: what is still queued for these rows is void."""
        self._controlnets.close()


@dataclass(kw_only=True)
class NoisePredictorFactory:
    """Makes the rows of one attempt at a job."""

    worker: UNetWorker
    model: BaseModel
    spec: JobSpec
    job_id: str
    attempt: str
    ordinal: int
    timeline: Timeline
    check: Callable[[], None]
    check_hash: CheckHash
    afterwards: Deferred

    def make(self, name: str) -> NoisePredictor:
        """The rows ``name``, attached to their ControlNets; Celery messages go out for the whole alone."""
        controlnets = ControlNetClient(
            self.spec.controlnets,
            job_id=f"{self.job_id}.{name}" if name else self.job_id,
            attempt=self.attempt,
            ordinal=self.ordinal,
            # Halves are never computed with others, not even with each other: a replay could not tell.
            precision=self.spec.residual_precision,
            alone=self.spec.is_exact or self.spec.mixes_rows or name != WHOLE,
            guess=self.spec.guess_mode,
            local=self._local,
            steps=self.worker.steps,
            transport=self.worker.transport,
            settings=self.worker.settings,
            timeline=self.timeline,
            first=self._first,
            check=self.check,
            check_hash=self.check_hash,
        )
        is_double = name == WHOLE and is_guided(self.model.guidance_scale(self.spec))
        guesses = is_double and self.spec.guess_mode
        images = [image.pixels for image in self._images]
        if name == WHOLE and images:
            self._first.attached()
        controlnets.attach(
            images,
            self.spec.num_images * (2 if is_double and not guesses else 1),
            self.worker.send_attach if name == WHOLE else _keep_quiet,
        )
        guided = slice(self.spec.num_images, None) if guesses else slice(None)
        return NoisePredictor(self.model, controlnets, self.timeline, self.afterwards, guided)

    @property
    def _local(self) -> LocalControlNets | None:
        is_wanted = self.worker.settings.controlnet_fallback == "local"
        return LocalControlNets(self.worker.controlnets, self.timeline.worker) if is_wanted else None

    @cached_property
    def _first(self) -> FirstResidual:
        return FirstResidual([controlnet.name for controlnet in self.spec.controlnets], self.timeline)

    @property
    def maps(self) -> list[str]:
        """By the net's position in the job: sha256 of the picture it is shown."""
        return [image.sha256 for image in self._images]

    @cached_property
    def _images(self) -> list[ControlImage]:
        return read_control_images(self.spec, self.model, self.worker.images, self.timeline)


def _keep_quiet(_: AttachControlNet) -> None:
    """The whole's attachment has made the nets' workers ready: a half asks them for the same."""
