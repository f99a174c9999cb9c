"""Base models of Z-Image, turbo and base."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from shared.errors import InvalidRequest
from shared.families.base import Config
from shared.families.controlnets import ControlPlan
from shared.families.z_image import Z_IMAGE, most_caption_tokens
from shared.jobs.spec import JobSpec
from workers.families.base import MaskedImage
from workers.families.staged_forward import StagedForward
from workers.families.transformer.flow_match import shift_of_size
from workers.families.transformer.lora_targets import TransformerLoraTargets
from workers.families.transformer.model import NOTHING_KNOWN, LoadInfo, TransformerModel
from workers.families.transformer.texts import TemplateTokenizer, TokenWindow
from workers.families.z_image.conditioning import ZImageConditioning, as_chat, encode_caption
from workers.families.z_image.forward import staged_forward
from workers.families.z_image.guidance import ZImageGuidance
from workers.families.z_image.latents import ZImageLatents
from workers.families.z_image.lora_targets import z_image_lora_targets


class ZImageModel(TransformerModel):
    """See `TransformerModel`; time and the sign of predictions run the other way than its scheduler's."""

    text_fields = frozenset({"prompt", "max_sequence_length"})

    def __init__(self, name: str, pipe: Any, info: LoadInfo = NOTHING_KNOWN) -> None:
        super().__init__(name, Z_IMAGE, pipe, info)
        self.latents: ZImageLatents = ZImageLatents(
            pipe.vae, pipe.transformer, pipe.vae_scale_factor, pipe.text_encoder
        )

    @property
    def lora_targets(self) -> TransformerLoraTargets:
        """See `BaseModel`."""
        return z_image_lora_targets(self.lora_parts)

    def guidance(self, spec: JobSpec) -> ZImageGuidance:
        """See `BaseModel`."""
        return ZImageGuidance(spec.guidance_scale, spec.cfg_normalization, spec.cfg_truncation)

    def timestep_options(self, spec: JobSpec) -> Mapping[str, Any]:
        """See `BaseModel`."""
        steps, (width, height) = spec.num_inference_steps, self.size(spec.width, spec.height)
        tokens = (width // self.facts.size_multiple) * (height // self.facts.size_multiple)
        evenly = torch.linspace(1.0, 1 / steps, steps, dtype=torch.float32).tolist()
        return {"mu": shift_of_size(tokens, self.scheduler_config), "sigmas": list(spec.sigmas or evenly)}

    def token_windows(self, spec: JobSpec) -> list[TokenWindow]:
        """See `TransformerModel`."""
        tokenizer = TemplateTokenizer(self.pipe.tokenizer, as_chat(self.pipe.tokenizer, "{}"))
        tokens = max(0, self.text_tokens(spec) - tokenizer.tokens_before)
        return [
            TokenWindow(field, text, tokenizer, tokens, closing=0)
            for field, text in self._texts(spec).items()
        ]

    @torch.inference_mode()
    def encode_texts(self, spec: JobSpec) -> dict[str, Tensor]:
        """See `BaseModel`; each ``(1, tokens, d)``."""
        tokens = self.text_tokens(spec)
        return {
            field: encode_caption(self.pipe.tokenizer, self.pipe.text_encoder, text, tokens)
            for field, text in self._texts(spec).items()
        }

    def make_conditioning(self, spec: JobSpec, texts: Mapping[str, Tensor]) -> ZImageConditioning:
        """See `BaseModel`; raises `InvalidRequest` for a caption that the model has no positions for."""
        self._check_captions(texts)
        captions = (texts[field][0].to(self.device, self.dtype) for field in self._texts(spec))
        return ZImageConditioning([caption for caption in captions for _ in range(spec.num_images)])

    @torch.inference_mode()
    def control_inputs(
        self,
        spec: JobSpec,
        pixels: Sequence[Tensor],
        controlnets: Sequence[Config],
        generators: Sequence[Generator],
    ) -> list[Tensor]:
        """See `BaseModel`: the most likely latents, ``(n, c, h/8, w/8)``."""
        return [self._encode_control(image, spec.num_images) for image in pixels]

    @torch.inference_mode()
    def masked_control_inputs(
        self, spec: JobSpec, pixels: Sequence[Tensor], controlnets: Sequence[Config], masked: MaskedImage
    ) -> list[Tensor]:
        """See `BaseModel`; after the control image a channel of what is kept, and that as latents."""
        image, mask = (tensor.to(self.device, self.vae_dtype) for tensor in masked)
        kept = self._encode_control(image * (mask < 0.5), spec.num_images)
        keeps = torch.nn.functional.interpolate(1 - mask, size=kept.shape[-2:], mode="nearest")
        rows = keeps.repeat_interleave(spec.num_images, dim=0)
        return [torch.cat([self._encode_control(one, spec.num_images), rows, kept], dim=1) for one in pixels]

    def _encode_control(self, pixels: Tensor, count: int) -> Tensor:
        return self.latents.encode_control(pixels.repeat_interleave(count, dim=0))

    def controlnet_latents(self, x: Tensor) -> Tensor:
        """See `BaseModel`."""
        return x.to(self.dtype)

    def forward(self, x: Tensor, t: Tensor, conditioning: Any, plan: ControlPlan | None) -> StagedForward:
        """See `TransformerModel`."""
        time = (1000 - t.expand(len(x))) / 1000
        captions = conditioning.captions
        predicted = yield from staged_forward(self.denoiser, x.to(self.dtype), time, captions, plan)
        return -predicted.float()

    def _check_captions(self, texts: Mapping[str, Tensor]) -> None:
        most = most_caption_tokens(self.denoiser_config)
        for field, caption in texts.items():
            tokens = caption.shape[1]
            if most is not None and tokens > most:
                read = f"max_sequence_length lets {tokens} tokens of it and its template be read"
                detail = f"{field} is too long: {read}, model {self.name!r} has positions for {most}"
                raise InvalidRequest(detail, field=field)

    def _texts(self, spec: JobSpec) -> dict[str, str]:
        """The job's texts, of which each becomes a caption, by field; the conditional branch's first."""
        negative = {"negative_prompt": spec.negative_prompt or ""}
        return {"prompt": spec.prompt, **(negative if self.guidance(spec).is_guided else {})}
