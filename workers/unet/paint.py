"""One attempt's pictures: the denoising loop, and what happens at the boundaries of its steps."""

import time

from PIL import Image
from torch import Tensor

from shared import metrics
from shared.attempts import Attempt
from shared.keys import control_key
from shared.receipts import Receipt
from workers.unet.conditioning import Conditioning
from workers.unet.denoise import denoise
from workers.unet.guidance import is_guided
from workers.unet.latents import first_latents, make_generators, step_options
from workers.unet.loras import Loras
from workers.unet.models import BaseModel
from workers.unet.nets import Nets
from workers.unet.pictures import decode_latents, read_control_image
from workers.unet.prompts import encode_prompt
from workers.unet.receipts import write_receipt
from workers.unet.schedulers import make_scheduler
from workers.unet.seam import decode, encode
from workers.unet.timeline import Timeline
from workers.unet.watch import Watch
from workers.unet.worker import UNetWorker


class Painter:
    """Brings model, nets and LoRAs of one attempt together; used once."""

    def __init__(
        self, worker: UNetWorker, attempt: Attempt, model: BaseModel, watch: Watch, timeline: Timeline
    ) -> None:
        spec = attempt.job.spec
        self._worker, self._model, self._watch, self._timeline = worker, model, watch, timeline
        self._spec = spec
        self._size = model.size(spec.width, spec.height)
        self._scheduler = make_scheduler(
            spec.scheduler, model.pipe.scheduler.config, spec.num_inference_steps, str(model.pipe.device)
        )
        self._total = len(self._scheduler.timesteps)
        self._loras = Loras(
            spec,
            model,
            worker.loras,
            total_steps=self._total,
            wait_s=worker.settings.lora_wait_s,
            timeline=timeline,
            check=watch.check,
        )
        self._nets = Nets(
            spec.controlnets,
            job_id=attempt.job.id,
            attempt=attempt.token,
            ordinal=attempt.job.attempts,
            transport=worker.transport,
            settings=worker.settings,
            timeline=timeline,
            check=watch.check,
        )
        self._conditioning: Conditioning | None = None  # made before the first step
        self._step_began = 0.0

    def paint(self) -> tuple[list[Image.Image], Receipt]:
        """The finished pictures and their receipt; LoRAs are on their way since construction."""
        try:
            with self._timeline.span("attach"):
                self._attach()
            latents = self._denoise()
        finally:
            self._nets.close()
            self._loras.note_loading()
        self._watch.check()
        with self._timeline.span("vae"):
            images = decode_latents(self._model, latents)
        receipt = write_receipt(
            self._spec,
            self._model,
            scheduler=self._scheduler,
            size=self._size,
            net_hashes=self._nets.hashes,
            loras=self._loras.receipts(),
        )
        return images, receipt

    def _attach(self) -> None:
        images = [
            read_control_image(self._worker.images.get(control_key(net.image)), self._model, self._size)
            for net in self._spec.controlnets
        ]
        rows = self._spec.num_images * (2 if is_guided(self._spec.guidance_scale) else 1)
        self._nets.attach(images, rows, self._worker.send_attach)

    def _denoise(self) -> Tensor:
        generators = make_generators(self._spec)
        return denoise(
            self._predict,
            self._scheduler,
            first_latents(self._model, self._scheduler, generators, self._size),
            guidance_scale=self._spec.guidance_scale,
            step_options=step_options(self._scheduler, generators),
            before_step=self._before_step,
            after_step=self._after_step,
        )

    def _before_step(self, i: int) -> None:
        self._step_began = time.time()
        self._watch.check()
        if self._loras.before_step(i) or i == 0:
            with self._timeline.span("prompt"):
                self._conditioning = encode_prompt(self._model, self._spec)
                self._nets.use_inputs(self._conditioning.net_inputs)

    def _predict(self, x: Tensor, i: int, t: Tensor) -> Tensor:
        """The nets compute while the encoder runs; the decoder takes residuals as it needs them."""
        assert self._conditioning is not None, "the prompt is encoded before the first step"
        unet = self._model.pipe.unet
        residuals = self._nets.ask(x, i, self._total, t.item())
        with self._timeline.span("encoder"):
            encoded = encode(unet, x, t, self._conditioning)
        with self._timeline.span("decoder"):
            noise = decode(unet, encoded, residuals)
        if residuals is not None:
            residuals.finish()
        return noise

    def _after_step(self, i: int, latents: Tensor) -> None:
        metrics.STEP_S.labels(self._spec.model).observe(time.time() - self._step_began)
        self._watch.progress(i + 1, self._total, lambda: self._model.preview(latents))
