"""Base models: diffusers pipelines of which the worker uses the parts."""

from typing import Any

from diffusers.image_processor import VaeImageProcessor

from shared.jobs.spec import JobSpec
from workers.families.preview import Previewer
from workers.lora.patch import Patcher
from workers.runtime.weights import weight_bytes, weights_sha256


class BaseModel:
    """One loaded base model. Between jobs it stays as the last one has patched it."""

    def __init__(self, name: str, pipe: Any, switches: dict[str, Any] | None = None) -> None:
        """``switches`` of diffusers that are on in ``pipe``, for the receipt."""
        self.name = name
        self.pipe = pipe
        self.switches = switches or {}
        encoders = {part: getattr(pipe, part, None) for part in ("text_encoder", "text_encoder_2")}
        self.text_encoders = {part: encoder for part, encoder in encoders.items() if encoder is not None}
        parts = {"unet": pipe.unet, "vae": pipe.vae, **self.text_encoders}
        self.sha256 = weights_sha256(parts)
        self._own_bytes = weight_bytes(parts.values())
        self.lora_parts = {"unet": pipe.unet, **self.text_encoders}
        self.patcher = Patcher(self.lora_parts)
        self.patched_with: set[tuple[str, str]] = set()  # names and ETags of the LoRAs in the weights
        self.preview = Previewer(pipe.vae)
        # Control images keep their range 0..1, as in StableDiffusionControlNetPipeline.
        self.control_images = VaeImageProcessor(
            vae_scale_factor=pipe.vae_scale_factor, do_convert_rgb=True, do_normalize=False
        )

        self.masks = VaeImageProcessor(
            vae_scale_factor=pipe.vae_scale_factor,
            do_normalize=False,
            do_binarize=True,
            do_convert_grayscale=True,
        )

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights and of their pristine copies."""
        return self._own_bytes + self.patcher.pristine_bytes

    @property
    def is_sdxl(self) -> bool:
        """Whether sizes and pooled text join the time embedding: all that sets SDXL's UNet apart."""
        return bool(self.pipe.unet.config.addition_embed_type == "text_time")

    def guidance_scale(self, spec: JobSpec) -> float:
        """What guides in the loop: 1, so nothing, if the UNet has guidance distilled into its weights."""
        return spec.guidance_scale if self.pipe.unet.config.time_cond_proj_dim is None else 1.0

    def size(self, width: int | None, height: int | None) -> tuple[int, int]:
        """The size of a picture, in pixels; unset is the model's own."""
        own = self.pipe.unet.config.sample_size
        own_h, own_w = (own, own) if isinstance(own, int) else own
        factor = self.pipe.vae_scale_factor
        return width or own_w * factor, height or own_h * factor
